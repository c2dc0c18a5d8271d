"""The suites that ship: the small one as it is, those of photographs on folders made here."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.process import metricforge
from tests.standard.layouts import make_cub, make_older_cars, make_sop

SUITES = Path(__file__).parents[2] / "benchmarks" / "suites"
SMALL = {
    "224": "16", "resnet50:weights=true": "conv4:channels=4", "trials = 20": "trials = 1",
    "500_000": "64", "3_000_000": "64",
}  # fmt: skip
"""What is made smaller, to take seconds: the images, the network, the trials, the budget."""


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_every_sampler_trains_with_every_loss_that_fits_it(tmp_path: Path) -> None:
    done = metricforge("bench", "run", SUITES / "smoke.toml", "--out", tmp_path, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    found = records(tmp_path)
    assert Counter(one["outcome"] for one in found) == {"done": 68, "refused": 92}
    for one in found:
        if one["outcome"] == "done":
            assert 0 < one["results"]["trained"]["map@r"]["value"] <= 1
        else:
            # A loss that compares other tuples than the miner gives, or none.
            assert "compare" in one["error"]
    trained = {one["approach"].partition(" · ")[0] for one in found if one["outcome"] == "done"}
    assert trained == {one["approach"].partition(" · ")[0] for one in found}


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


@pytest.mark.parametrize("name", ["cub", "cars", "sop"])
def test_a_suite_of_photographs_runs_on_a_folder_of_that_layout(name: str, tmp_path: Path) -> None:
    make(name, tmp_path)
    text = (SUITES / f"{name}.toml").read_text()
    for large, small in SMALL.items():
        text = text.replace(large, small)
    (tmp_path / f"{name}.toml").write_text(text)
    # They have the same approaches: of the two others some will do.
    only = () if name == "cub" else ("--only", "triplet, hard", "--only", "proxy")
    done = metricforge(
        "bench", "run", tmp_path / f"{name}.toml", "--out", tmp_path / "out", "--seeds", 1,
        "--data-root", tmp_path, *only,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = records(tmp_path / "out")
    assert [one["error"] for one in found if one["outcome"] != "done"] == []
    count = 2 if only else 10
    assert Counter(one["trial"] for one in found) == {1: count, None: count}
    tested = [one for one in found if one["trial"] is None]
    assert all(one["results"]["trained"]["map@r"]["value"] <= 1 for one in tested)
    assert not any(one["closed_set"] for one in found)
