"""Suites by the real command: carried out, killed and gone on with, in a table."""

from __future__ import annotations

import csv
import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metricforge.bench import read_records
from metricforge.errors import InUseError
from metricforge.runs.lock import held
from metricforge.runtime import Runtime
from tests.cli.process import metricforge, start, wrapped
from tests.cli.small_run import PARTS, make_images

BASE = """\
backbone = "conv4:channels=4"
orientations = 1
protocols = ["retrieval"]
device = "cpu"
dim = 4
"""
SUITE = """
title = "A small suite"
baseline = "hard"
seeds = 2
numbers = ["map@r"]

[base]
dataset = "npz:path={images}"
split = "{parts}"
{base}save_steps = 1

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
    text = SUITE.format(base=BASE, images=make_images(folder), parts=PARTS) + MISFITS
    (folder / "small.toml").write_text(text)
    return folder / "small.toml"


@pytest.fixture(scope="module")
def whole(suite: Path) -> Path:
    """The results of the suite, by two processes."""
    out = suite.parent / "whole"
    done = metricforge("bench", "run", suite, "--out", out, "--jobs", 2)
    assert done.returncode == 1, done.stderr
    assert "error: 2 of 8 runs failed, and the table says why" in done.stderr
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
        assert "are missing" not in done.stdout


def test_killed_and_gone_on_with_it_finds_the_same(suite: Path, whole: Path) -> None:
    out = suite.parent / "killed"
    given = ("bench", "run", suite, "--out", out, "--only", "hard", "--only", "random")
    # Some steps into its second run.
    killed = wrapped("killed=9", *given)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [one["outcome"] for one in records(out)] == ["done"]
    refused = metricforge(*given)
    assert refused.returncode == 2
    assert "resume with --resume" in refused.stderr
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
    shown = metricforge("bench", "compare", whole, whole).stdout
    lines = [line.rstrip() for line in shown.splitlines()]
    assert lines[0].split() == ["seeds", "first", "second", "difference"]
    assert {"hard", "random"} <= set(lines)
    counts = [line.split()[1] for line in lines if line.startswith("  map@r ")]
    assert counts == ["2", "2"]
    assert metricforge("bench", "compare", whole, suite.parent / "gone").returncode == 5


def test_suites_are_listed_and_a_wrong_name_gets_the_nearest(suite: Path) -> None:
    done = metricforge("bench", "list", suite.parent, "--json")
    assert json.loads(done.stdout) == [
        {
            "name": "small", "title": "A small suite", "approaches": 4, "seeds": 2, "trials": 0,
            "runs": 8,
        }
    ]  # fmt: skip
    shown = metricforge("bench", "list", suite.parent)
    assert "small" in shown.stdout
    root = Path(__file__).parents[2]
    wrong = metricforge("bench", "run", "smok", cwd=root)
    assert wrong.returncode == 2
    assert "did you mean 'smoke'" in wrong.stderr
    nowhere = metricforge("bench", "table", "smoke", cwd=suite.parent)
    assert nowhere.returncode == 2
    assert "no run of suite 'smoke' is in bench/smoke" in nowhere.stderr


@pytest.mark.fault(67)
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGKILL, marks=pytest.mark.exhaustive),
    ],
)
def test_a_suite_that_is_ended_leaves_nobody_at_work(tmp_path: Path, number: int) -> None:
    text = SUITE.format(base=BASE, images=make_images(tmp_path), parts=PARTS)
    (tmp_path / "long.toml").write_text(text.replace("images = 70", "images = 3_000_000"))
    out = tmp_path / "out"
    process = start("bench", "run", tmp_path / "long.toml", "--out", out, "--jobs", 2)
    _wait(lambda: len(list(out.glob("runs/*/metrics.jsonl"))) == 2)
    process.send_signal(number)
    _, said = process.communicate()
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert "interrupted; resume with the same command and --resume." in said
    runs = list((out / "runs").iterdir())
    assert len(runs) == 2

    def free() -> bool:
        try:
            for run in runs:
                with held(run):
                    pass
        except InUseError:
            return False
        return True

    _wait(free)
    assert not (out / "results.jsonl").exists()
    assert not any((run / "summary.json").exists() for run in runs)


def _wait(until: Callable[[], bool]) -> None:
    for _ in range(6000):
        if until():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to be within ten minutes")


def test_a_run_that_another_process_is_at_is_not_refused(tmp_path: Path) -> None:
    text = SUITE.format(base=BASE, images=make_images(tmp_path), parts=PARTS)
    (tmp_path / "small.toml").write_text(text)
    given = ("bench", "run", tmp_path / "small.toml", "--out", tmp_path / "out", "--seeds", 1)
    killed = wrapped("killed=9", *given, "--device", "cpu")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = (tmp_path / "out" / "results.jsonl").read_text()
    (run,) = (run for run in (tmp_path / "out" / "runs").iterdir() if "random" in run.name)
    with held(run):
        done = metricforge(*given, "--resume")
    assert done.returncode == 2
    assert "is in use by process" in done.stderr
    assert (tmp_path / "out" / "results.jsonl").read_text() == before


@pytest.mark.parametrize("split", ["random", "folds:k=4"])
def test_an_interrupted_run_is_gone_on_with_by_what_means_the_same(
    tmp_path: Path, split: str
) -> None:
    """A device by its name or as the best, a split with its defaults or without."""
    text = SUITE.format(base=BASE, images=make_images(tmp_path), parts=split)
    (tmp_path / "small.toml").write_text(text.replace('device = "cpu"', 'device = "auto"'))
    given = ("bench", "run", tmp_path / "small.toml", "--out", tmp_path / "out", "--seeds", 1)
    best = str(Runtime.resolve("auto").device.type)
    assert wrapped("killed=9", *given, "--device", best).returncode == -signal.SIGKILL
    done = metricforge(*given, "--resume")
    assert done.returncode == 0, done.stderr
    assert [one["outcome"] for one in records(tmp_path / "out")] == ["done", "done"]
    logs = [(run / "log.txt").read_text() for run in (tmp_path / "out" / "runs").iterdir()]
    assert sum("resumed at step" in log for log in logs) == 1
    # What went on before the kill counts as well.
    seconds = [(one["wall_seconds"], one["seconds"]) for one in records(tmp_path / "out")]
    assert all(wall >= trained for wall, trained in seconds)


ALSO = '[[also]]\nname = "other"\ndataset = "{}"\nprotocols = ["{}"]'


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('sampler = "hard-triplet:clases=3"', "unknown option of sampler .*did you mean 'classes'"),
        ('sampler = "random-triplet"', "unknown sampler .*did you mean 'random-triplets'"),
        ('loss = "margn"', "unknown loss .*did you mean 'margin'"),
        ('augment = ["afine"]', "unknown augmentation .*did you mean 'affine'"),
        ('protocols = ["retreival"]', "unknown protocol .*did you mean 'retrieval'"),
        ('dataset = "minst"', "did you mean 'mnist'.* There is no folder or file 'minst' either"),
        ('optimizer = "adam:rl=1"', "unknown option .*did you mean 'lr'"),
        ('split = "ofifcial"', "unknown split .*did you mean 'official'"),
        ('validation = "onehsot"', "unknown protocol .*did you mean 'oneshot'"),
        (ALSO.format("minst", "retrieval"), "did you mean 'mnist'"),
        (ALSO.format("mnist:sise=3", "retrieval"), "sise"),
        (ALSO.format("mnist", "onehsot"), "did you mean 'oneshot'"),
    ],
)
def test_what_a_suite_names_is_looked_up_before_all_training(
    tmp_path: Path, wrong: str, said: str
) -> None:
    text = SUITE.format(base=BASE, images=make_images(tmp_path), parts=PARTS)
    (tmp_path / "wrong.toml").write_text(f'{text}[[approach]]\nname = "typo"\n{wrong}\n')
    done = metricforge("bench", "run", tmp_path / "wrong.toml", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert re.search(f"^error: suite 'wrong', (typo|other): .*{said}", done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_further_test_whose_images_are_not_there_is_told_of_before_training(
    tmp_path: Path,
) -> None:
    text = SUITE.format(base=BASE, images=make_images(tmp_path), parts=PARTS)
    (tmp_path / "gone.toml").write_text(text + ALSO.format("npz:path=gone.npz", "retrieval"))
    given = (tmp_path / "gone.toml", "--out", tmp_path / "out", "--only", "hard", "--seeds", 1)
    done = metricforge("bench", "run", *given)
    assert "error: suite 'gone', other: " in done.stderr
    assert "gone.npz' does not exist" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_asked_for_alone_needs_nothing_of_the_others(tmp_path: Path) -> None:
    text = SUITE.format(base=BASE, images=make_images(tmp_path), parts=PARTS)
    # A dataset may be given by its path alone.
    text = text.replace('["map@r"]', '["map@r", "recal@1"]').replace("npz:path=", "")
    (tmp_path / "part.toml").write_text(
        f'{text}[[approach]]\nname = "hard too"\nsampler = "gone.Sampler"\n'
    )
    given = (tmp_path / "part.toml", "--out", tmp_path / "out")
    done = metricforge("bench", "run", *given, "--only", "hard", "--seeds", 1)
    assert done.returncode == 0, done.stderr
    first, note = done.stderr.splitlines()
    assert first.startswith("1/1 hard, seed 0: map@r ")
    assert note.startswith("note: no protocol measures recal@1; there are recall@1")
    shown = metricforge("bench", "table", *given, "--format", "csv")
    assert "5 of the suite's 6 runs" in metricforge("bench", "table", *given).stdout
    lines = {
        (line["approach"], line["number"]): line
        for line in csv.DictReader(shown.stdout.splitlines())
    }
    hard = lines["hard", "map@r"]
    assert (float(hard["mean"]) > 0, hard["low"], hard["high"], hard["n"]) == (True, "", "", "1")
    (table,) = json.loads(metricforge("bench", "table", *given, "--json").stdout)
    found = table["rows"][0]["numbers"]["map@r"]
    assert (found["low"], found["high"], found["n"]) == (None, None, 1)
    both = (tmp_path / "out", tmp_path / "out")
    compared = json.loads(metricforge("bench", "compare", *both, "--json").stdout)
    assert compared["approaches"]["hard"]["map@r"]["difference"]["low"] is None
    same = metricforge("bench", "compare", *both).stdout
    assert "+0.000" in same
    assert "[" not in same


TUNED = """
seeds = 1
numbers = ["map@r", "other recall@1"]

[base]
dataset = "npz:path={images}"
split = "{parts}"
{base}loss = "triplet"

[budget]
images = 36

[tune]
trials = 3
options = ["optimizer.lr=1e-4..1e-1"]
{search}

[[approach]]
name = "hard"
sampler = "hard-triplet:classes=3,per_class=4"
tune = ["loss.margin=0.1,0.2,0.3"]

[[approach]]
name = "random"
sampler = "random-triplets:triplets=6"

[[also]]
name = "other"
dataset = "{other}"
protocols = ["retrieval"]
"""


@pytest.mark.parametrize("search", [pytest.param("random", marks=pytest.mark.exhaustive), "tpe"])
def test_each_approach_has_as_many_trials_and_runs_with_the_best_of_them(
    tmp_path: Path, search: str
) -> None:
    # The plugin's search is taken where there is one.
    named = "" if search == "tpe" else f'search = "{search}"'
    images = make_images(tmp_path)
    text = TUNED.format(base=BASE, images=images, other=_renamed(images), parts=PARTS, search=named)
    (tmp_path / "tuned.toml").write_text(text)
    out = tmp_path / "out"
    done = metricforge("bench", "run", tmp_path / "tuned.toml", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "8/8 random, seed 0" in done.stderr
    assert "trial 3 optimizer.lr=" in done.stderr
    trials = [one for one in records(out) if one["trial"]]
    runs = {one["approach"]: one for one in records(out) if one["trial"] is None}
    for name in ("hard", "random"):
        own = [one for one in trials if one["approach"] == name]
        assert [one["trial"] for one in own] == [1, 2, 3]
        assert all(one["results"] == {} and not one["recipe"]["test"] for one in own)
        assert len({one["tuned"]["optimizer.lr"] for one in own}) == 3
        # Of equals the first.
        best = max(own, key=lambda one: one["validation"]["map@r"])
        assert runs[name]["tuned"] == best["tuned"]
        assert f"lr={float(best['tuned']['optimizer.lr'])}" in runs[name]["recipe"]["optimizer"]
        assert runs[name]["seed"] == 0
        assert set(runs[name]["results"]) == {"trained", "untrained", "pixels"}
        for numbers in runs[name]["results"].values():
            assert {"map@r", "other map@r"} <= set(numbers)
    assert set(trials[0]["tuned"]) == {"optimizer.lr", "loss.margin"}
    again = metricforge("bench", "run", tmp_path / "tuned.toml", "--out", out, "--resume")
    assert again.stderr == ""
    assert again.stdout == done.stdout
    assert f"options chosen by 3 trials of each ({search}), on validation classes" in done.stdout
    # What the suite once asked for is no row of what it asks for now.
    (tmp_path / "tuned.toml").write_text(text.replace("dim = 4", "dim = 8"))
    changed = metricforge("bench", "table", tmp_path / "tuned.toml", "--out", out)
    assert "8 results in" in changed.stderr
    assert "nothing is done yet." in changed.stdout


def _renamed(images: Path) -> Path:
    """The same images, as classes of other names."""
    other = images.with_name("other.npz")
    with np.load(images) as given:
        np.savez(other, images=given["images"], labels=given["labels"] + 50)
    return other


FOLDED = """
folds = 3
seeds = 1
numbers = ["map@r"]

[base]
dataset = "npz:path={images}"
{base}
[budget]
images = 36

[axes]
sampler = {{hard = "hard-triplet:classes=2,per_class=4"}}
loss = ["triplet", "margin"]
"""


def test_folds_test_each_class_once_and_are_one_row(tmp_path: Path) -> None:
    (tmp_path / "folded.toml").write_text(FOLDED.format(base=BASE, images=make_images(tmp_path)))
    done = metricforge("bench", "run", tmp_path / "folded.toml", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = [one for one in records(tmp_path / "out") if one["approach"] == "hard · triplet"]
    assert [one["fold"] for one in found] == [0, 1, 2]
    tested = [json.loads((run / "split.json").read_text())["parts"]["test"]["classes"]
              for run in sorted((tmp_path / "out" / "runs").glob("hard-triplet-*"))]  # fmt: skip
    assert sorted(name for names in tested for name in names) == [*map(str, range(10))]
    asked = ("bench", "table", tmp_path / "folded.toml", "--out", tmp_path / "out", "--json")
    (table,) = json.loads(metricforge(*asked).stdout)
    mean = sum(one["results"]["trained"]["map@r"]["value"] for one in found) / 3
    row = next(row for row in table["rows"] if row["name"] == "hard · triplet")
    assert row["n"] == 1
    assert row["numbers"]["map@r"]["value"] == pytest.approx(mean)
    assert "mean over seeds, each the mean of 3 folds [95 %" in table["notes"][0]
    for_reading = metricforge(*asked[:-1], "--grid", "map@r").stdout.splitlines()
    assert for_reading[2] == "|  | triplet | margin | n |"
    assert for_reading[4].startswith(f"| hard | {mean:.3f} | ")
    refused = metricforge(*asked, "--grid", "map@r")
    assert (refused.returncode, "json has every number" in refused.stderr) == (2, True)
    assert any(
        note.startswith("one training alone (hard · triplet, seed 0, fold ")
        for note in table["notes"]
    )


def test_a_sampler_that_the_data_can_not_have_is_refused_and_costs_no_exit_code(
    tmp_path: Path,
) -> None:
    text = SUITE.format(base=BASE, images=make_images(tmp_path), parts=PARTS)
    groups = '[[approach]]\nname = "by group"\nsampler = "grouped"\n'
    (tmp_path / "two.toml").write_text(text.replace("seeds = 2", "seeds = 1") + groups)
    words = ("--out", tmp_path / "out", "--only", "hard", "--only", "by group")
    done = metricforge("bench", "run", tmp_path / "two.toml", *words)
    assert done.returncode == 0, done.stderr
    assert "by group, seed 0: refused: sampler 'grouped' requires groups" in done.stderr


def test_what_was_refused_is_tried_again_and_a_folder_has_one_at_work(tmp_path: Path) -> None:
    text = SUITE.format(base=BASE, images=make_images(tmp_path), parts=PARTS).partition(
        "[[approach]]"
    )[0]
    text = text.replace('baseline = "hard"\n', "").replace("seeds = 2", "seeds = 1")
    (tmp_path / "one.toml").write_text(
        f"{text}{MISFITS.partition('[[approach]]')[0]}"
        '[[approach]]\nname = "../misfit"\nloss = "contrastive"\n'
    )
    words = ("bench", "run", tmp_path / "one.toml", "--out", tmp_path / "out", "--resume")
    for _ in range(2):
        done = metricforge(*words)
        assert done.returncode == 2, done.stderr
        assert "1/1 ../misfit, seed 0: refused: " in done.stderr
        assert "nothing of one could be trained; the table says why." in done.stderr
    (record,) = read_records(tmp_path / "out" / "results.jsonl")
    assert record.outcome == "refused"
    # Told again, but not written down again.
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 1
    with held(tmp_path / "out"):
        done = metricforge(*words)
    assert done.returncode == 2
    assert "is in use by process" in done.stderr
    wrong = metricforge(*words, "--only", "misfit", "--only", "typo")
    assert "unknown approach 'typo'" in wrong.stderr
