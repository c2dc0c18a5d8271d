"""Suites by the real command: carried out, killed and gone on with, in a table."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.process import metricforge, wrapped
from tests.cli.small_run import PARTS, make_images

SUITE = """
title = "A small suite"
baseline = "hard"
seeds = 2
numbers = ["map@r"]

[base]
dataset = "npz:path={images}"
split = "{parts}"
backbone = "conv4:channels=4"
orientations = 1
protocols = ["retrieval"]
device = "cpu"
dim = 4
save_steps = 1

[budget]
images = 70

[[approach]]
name = "hard"
sampler = "hard-triplet:classes=3,per_class=4"

[[approach]]
name = "random"
sampler = "random-triplets:triplets=6"
"""
MISFITS = """
[[approach]]
name = "misfit"
loss = "contrastive"

[[approach]]
name = "bursts"
optimizer = "sgd:lr=1e30"
schedule = "constant"
head = "linear:normalize=false"
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of two approaches that train and two that can't."""
    folder = tmp_path_factory.mktemp("suite")
    text = SUITE.format(images=make_images(folder), parts=PARTS) + MISFITS
    (folder / "small.toml").write_text(text)
    return folder / "small.toml"


@pytest.fixture(scope="module")
def whole(suite: Path) -> Path:
    """The results of the suite, by two processes."""
    out = suite.parent / "whole"
    done = metricforge("bench", "run", suite, "--out", out, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert "**A small suite" in done.stdout
    assert len([line for line in done.stderr.splitlines() if "/8 " in line]) == 8
    return out


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def found(out: Path) -> dict:
    """What each run found, without what a clock or a machine has to do with."""
    return {
        (one["approach"], one["seed"]): (one["outcome"], one["results"], one["validation"])
        for one in records(out)
    }


def test_every_run_is_a_record_that_can_be_believed(whole: Path) -> None:
    by_approach: dict[str, list[dict]] = {}
    for one in records(whole):
        by_approach.setdefault(one["approach"], []).append(one)
    assert {name: [one["outcome"] for one in each] for name, each in by_approach.items()} == {
        "hard": ["done"] * 2, "random": ["done"] * 2, "misfit": ["refused"] * 2,
        "bursts": ["failed"] * 2,
    }  # fmt: skip
    for one in by_approach["hard"] + by_approach["random"]:
        assert set(one["results"]) == {"trained", "untrained", "pixels"}
        # A step more than the budget at the most: 70 images by batches of up to 18.
        assert 70 <= one["images_seen"] < 70 + 18
        assert one["split_hash"] == by_approach["hard"][0]["split_hash"]
        assert one["environment"]["versions"]["torch"]
        assert one["recipe"]["optimizer"].startswith("adamw:lr=")
    assert "contrastive compares pairs" in by_approach["misfit"][0]["error"]
    assert "no step was taken" in by_approach["bursts"][0]["error"]
    runs = list((whole / "runs").iterdir())
    assert sum((run / "report.html").is_file() for run in runs) == 4


def test_the_table_is_that_of_the_records(suite: Path, whole: Path) -> None:
    done = metricforge("bench", "table", suite, "--out", whole, "--json")
    (table,) = json.loads(done.stdout)
    rows = {row["name"]: row for row in table["rows"]}
    assert list(rows) == ["hard", "random", "untrained network", "pixels", "misfit", "bursts"]
    values = [
        one["results"]["trained"]["map@r"]["value"]
        for one in records(whole)
        if one["approach"] == "hard"
    ]
    assert rows["hard"]["numbers"]["map@r"]["value"] == pytest.approx(sum(values) / 2)
    assert rows["random"]["differences"]["map@r"]["over"] == "seeds"
    assert rows["misfit"]["reason"].startswith("refused: ")
    for form, begins in (("md", "**A small"), ("csv", "table,approach"), ("html", "<!doctype")):
        done = metricforge("bench", "table", suite, "--out", whole, "--format", form)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(begins)


def test_killed_and_gone_on_with_it_finds_the_same(suite: Path, whole: Path) -> None:
    out = suite.parent / "killed"
    given = ("bench", "run", suite, "--out", out, "--only", "hard", "--only", "random")
    # Some steps into its second run.
    killed = wrapped("killed=9", *given)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [one["outcome"] for one in records(out)] == ["done"]
    refused = metricforge(*given)
    assert refused.returncode == 2
    assert "go on with --resume" in refused.stderr
    # A line that the kill has cut short.
    with (out / "results.jsonl").open("a") as file:
        file.write('{"id": "x')
    done = metricforge(*given, "--resume")
    assert done.returncode == 0, done.stderr
    assert "1/4" not in done.stderr
    assert "4/4" in done.stderr
    again = [one for one in (out / "results.jsonl").read_text().splitlines() if one != '{"id": "x']
    (out / "results.jsonl").write_text("\n".join(again) + "\n")
    expected = {key: value for key, value in found(whole).items() if key[0] in ("hard", "random")}
    assert found(out) == expected
    logs = [(run / "log.txt").read_text() for run in (out / "runs").iterdir()]
    assert sum("resumed at step" in log for log in logs) == 1
    assert metricforge(*given, "--resume").stderr == ""


def test_results_that_have_not_changed_differ_by_nothing(whole: Path, suite: Path) -> None:
    done = metricforge("bench", "compare", whole, whole, "--json")
    compared = json.loads(done.stdout)
    assert set(compared["approaches"]) == {"hard", "random"}
    difference = compared["approaches"]["hard"]["map@r"]["difference"]
    assert (difference["value"], difference["low"], difference["high"]) == (0, 0, 0)
    assert metricforge("bench", "compare", whole, suite.parent / "gone").returncode == 5


def test_suites_are_listed_and_a_wrong_name_gets_the_nearest(suite: Path) -> None:
    done = metricforge("bench", "list", suite.parent, "--json")
    assert json.loads(done.stdout) == [
        {"name": "small", "title": "A small suite", "approaches": 4, "seeds": 2, "runs": 8}
    ]
    shown = metricforge("bench", "list", suite.parent)
    assert "small" in shown.stdout
    root = Path(__file__).parents[2]
    wrong = metricforge("bench", "run", "smok", cwd=root)
    assert wrong.returncode == 2
    assert "did you mean 'smoke'" in wrong.stderr
    nowhere = metricforge("bench", "table", "smoke", cwd=suite.parent)
    assert nowhere.returncode == 2
    assert "name a file" in nowhere.stderr
