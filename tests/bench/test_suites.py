"""The suites that ship: the small one as it is, those of photographs on folders made here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from metricforge.bench import read_suite
from metricforge.bench.suite import Approach, Suite
from metricforge.errors import UsageError
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import assemble
from tests.cli.process import metricforge, wrapped
from tests.standard.layouts import make_cub, make_older_cars, make_sop

SUITES = Path(__file__).parents[2] / "benchmarks" / "suites"
SMALL = {
    "224": "16", "resnet50:weights=true": "conv4:channels=4", "trials = 20": "trials = 1",
    "500_000": "64", "3_000_000": "64",
}  # fmt: skip
"""What is made smaller, to take seconds: the images, the network, the trials, the budget."""


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def fitting(suite: Suite) -> dict[str, Approach]:
    """The approaches whose components fit one another; what is refused compares other tuples."""
    registry = Registry.installed()
    found = {}
    for approach in suite.approaches:
        recipe = Recipe.from_values({**suite.base, **approach.options}, suite.name)
        try:
            assemble(recipe, registry)
        except UsageError as error:
            # A loss that compares other tuples than the miner gives, or none.
            if "compare" not in str(error):
                raise
        else:
            found[approach.name] = approach
    return found


def covering(approaches: Mapping[str, Approach]) -> list[str]:
    """Names of few approaches that have each value of each axis."""
    values = {name: set(approach.options.items()) for name, approach in approaches.items()}
    missing, names = set().union(*values.values()), []
    while missing:
        names.append(max(values, key=lambda name: len(values[name] & missing)))
        missing -= values[names[-1]]
    return names


def trained(out: Path, *words: object) -> list[dict]:
    """The records of the suite `smoke`, each of which has its result, or was refused."""
    done = metricforge("bench", "run", SUITES / "smoke.toml", "--out", out, *words)
    assert done.returncode == 0, done.stderr
    found = records(out)
    for one in found:
        if one["outcome"] == "done":
            assert 0 < one["results"]["trained"]["map@r"]["value"] <= 1
        else:
            assert "compare" in one["error"]
    return found


@pytest.mark.parametrize("most", [4, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_every_sampler_and_every_loss_trains(most: int, tmp_path: Path) -> None:
    suite = read_suite(SUITES / "smoke.toml")
    fits = fitting(suite)
    assert (len(fits), len(suite.approaches)) == (68, 160)
    names = covering(fits)
    assert len(names) < 20
    for axis in ("sampler", "loss"):
        all_values = {approach.options[axis] for approach in suite.approaches}
        assert {fits[name].options[axis] for name in names} == all_values
    found = trained(tmp_path, *(word for name in names[:most] for word in ("--only", name)))
    assert [one["outcome"] for one in found] == ["done"] * len(names[:most])


@pytest.mark.exhaustive
def test_every_sampler_trains_with_every_loss_that_fits_it(tmp_path: Path) -> None:
    found = trained(tmp_path, "--jobs", 2)
    assert Counter(one["outcome"] for one in found) == {"done": 68, "refused": 92}


def make(name: str, root: Path) -> Path:
    """A folder with 24 classes to train and four to test."""
    if name == "cub":
        return make_cub(root, (*range(1, 25), *range(101, 105)), each=4)
    if name == "cars":
        classes = [n for n in (*range(1, 25), *range(98, 102)) for _ in range(4)]
        rows = [(f"car_ims/{place:06}.jpg", n) for place, n in enumerate(classes)]
        return make_older_cars(root / "stanford_cars", rows)
    listed = {
        part: [f"{4 * n + i} {n} 1 bicycle_final/{n}_{i}.JPG" for n in numbers for i in range(4)]
        for part, numbers in (
            ("Ebay_train.txt", range(1, 25)), ("Ebay_test.txt", range(11319, 11323)),
        )
    }  # fmt: skip
    return make_sop(root, listed)


# The three suites have the same approaches, of which two represent the others.
SOME = ("--only", "triplet, hard", "--only", "proxy")


@pytest.mark.parametrize(
    ("name", "only"),
    [
        pytest.param("cub", SOME, id="cub"),
        pytest.param("cars", SOME, id="cars", marks=pytest.mark.exhaustive),
        pytest.param("sop", SOME, id="sop", marks=pytest.mark.exhaustive),
        pytest.param("cub", (), id="cub, whole", marks=pytest.mark.exhaustive),
    ],
)
def test_a_suite_of_photographs_runs_on_a_folder_of_that_layout(
    name: str, only: Sequence[str], tmp_path: Path
) -> None:
    make(name, tmp_path)
    text = (SUITES / f"{name}.toml").read_text()
    for large, small in SMALL.items():
        text = text.replace(large, small)
    (tmp_path / f"{name}.toml").write_text(text)
    done = wrapped(
        f"cars={tmp_path}", "bench", "run", tmp_path / f"{name}.toml", "--out", tmp_path / "out",
        "--seeds", 1, "--data-root", tmp_path, *only,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = records(tmp_path / "out")
    assert [one["error"] for one in found if one["outcome"] != "done"] == []
    count = 2 if only else 10
    assert Counter(one["trial"] for one in found) == {1: count, None: count}
    tested = [one for one in found if one["trial"] is None]
    assert all(one["results"]["trained"]["map@r"]["value"] <= 1 for one in tested)
    assert not any(one["closed_set"] for one in found)
