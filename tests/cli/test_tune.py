"""Real searches on the digits, small: they go on, they keep the test closed, the best trains."""

from __future__ import annotations

import json
import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from metricforge import Recipe, Run
from metricforge.cli import cli
from metricforge.cli.tune import command
from metricforge.errors import ArtefactError, DataError, Interrupted, ResourceError, UsageError
from metricforge.report.progress import Listener
from metricforge.runs.train import run_recipe
from metricforge.training.records import Record
from metricforge.tuning import trials
from tests.cli.process import metricforge

RECIPE = Recipe(
    dataset="digits", backbone="conv4:channels=4", loss="triplet", dim=8, epochs=1,
    orientations=1, protocols=("retrieval",),
)  # fmt: skip
SPACE = ("--option", "sampler.per_class=2,4,8", "--option", "loss.margin=0.05..0.5")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE.to_toml())
    return path


def tune(recipe: Path, *words: object) -> Result:
    return CliRunner().invoke(command, [str(recipe), *map(str, words)])


def succeed(recipe: Path, *words: object) -> dict[str, Any]:
    done = tune(recipe, *words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_dataset_that_is_not_there_is_exit_code_3_and_no_failed_trial(tmp_path: Path) -> None:
    path, out, photos = tmp_path / "mine.toml", tmp_path / "search", tmp_path / "photos.csv"
    path.write_text(RECIPE.but(dataset=f"csv:path={photos}").to_toml())
    done = tune(path, "--option", "dim=4,8", "--trials", 2, "--out", out)
    assert isinstance(done.exception, DataError), done.exception
    assert not (out / "trials.jsonl").exists()


def test_a_search_finds_its_best_and_never_opens_the_test_classes(
    recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    found = succeed(recipe, *SPACE, "--trials", 3, "--out", out)
    records = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    assert found["trials"] == records
    assert [record["number"] for record in records] == [1, 2, 3]
    assert found["best"]["score"] == max(record["score"] for record in records)
    for record in records:
        run = Run.open(out / record["run"])
        assert record["score"] == run.validation["map@r"]
        assert f"per_class={record['options']['sampler.per_class']}" in str(run.recipe.sampler)
        assert f"margin={record['options']['loss.margin']}" in str(run.recipe.loss)
        assert run.results == {}
        assert not (run.path / "evaluations.jsonl").exists()
        assert not (run.path / "plots" / "test.png").exists()
        assert not (run.path / "checkpoints").exists()


def test_the_best_recipe_trains_and_opens_them_once(recipe: Path, tmp_path: Path) -> None:
    """Through the real command, from beginning to end."""
    words = ("tune", recipe, "--option", "dim=4,8", "--trials", 2)
    done = metricforge(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "best of many" in done.stdout
    out = tmp_path / "runs" / "mine-tune"
    assert (
        f"next    metricforge train --config {out.relative_to(tmp_path)}/best.toml" in done.stdout
    )
    assert done.stderr.count("map@r") == 2
    best = tomllib.loads((out / "best.toml").read_text())
    assert best["test"] is True
    final = tmp_path / "final"
    words = ["train", "--config", str(out / "best.toml"), "--out", str(final)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    run = Run.open(final)
    assert len((run.path / "evaluations.jsonl").read_text().splitlines()) == 1
    records = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    # The same numbers as in the search: it was the same training.
    assert run.validation["map@r"] == max(record["score"] for record in records)
    listed = CliRunner().invoke(cli, ["--help"]).stdout
    assert "Search the best options of a recipe" in listed


def test_a_search_that_goes_on_is_the_one_that_never_stopped(recipe: Path, tmp_path: Path) -> None:
    whole = succeed(recipe, *SPACE, "--trials", 3, "--out", tmp_path / "whole")
    succeed(recipe, *SPACE, "--trials", 1, "--out", tmp_path / "parts")
    parts = succeed(recipe, *SPACE, "--trials", 3, "--out", tmp_path / "parts")
    assert outcomes(parts) == outcomes(whole)
    again = succeed(recipe, *SPACE, "--trials", 3, "--out", tmp_path / "parts")
    assert again == parts, "there was nothing left to do"


def outcomes(found: dict[str, Any]) -> list[tuple[Any, Any]]:
    return [(trial["options"], trial["score"]) for trial in found["trials"]]


class Stopping(Listener):
    """Ends a training as Ctrl-C does, after its third step."""

    def record(self, record: Record, epochs: int) -> None:
        if record.step == 3:
            signal.raise_signal(signal.SIGINT)


def test_a_trial_that_was_stopped_is_resumed(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(recipe: Recipe, **options: Any) -> Run:
        return run_recipe(recipe, **{**options, "listener": Stopping()})

    out = tmp_path / "search"
    with monkeypatch.context() as patched:
        patched.setattr(trials, "run_recipe", stop)
        done = tune(recipe, *SPACE, "--trials", 2, "--out", out)
    assert isinstance(done.exception, Interrupted)
    assert "stopped in trial 1" in str(done.exception)
    stopped = succeed(recipe, *SPACE, "--trials", 1, "--out", out)
    run = out / "trials" / "001"
    assert "resumed at step 3" in (run / "log.txt").read_text()
    assert len((run / "metrics.jsonl").read_text().splitlines()) > 4
    whole = succeed(recipe, *SPACE, "--trials", 1, "--out", tmp_path / "whole")
    assert outcomes(stopped) == outcomes(whole)


def test_another_search_in_the_folder_is_refused_with_the_difference(
    recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    succeed(recipe, "--option", "dim=4,8", "--trials", 1, "--out", out)
    before = (out / "trials.jsonl").read_bytes()
    other = {
        ("--option", "dim=4,16"): "options: dim=4,8 / dim=4,16",
        ("--option", "dim=4,8", "--seed", 1): "seed: 0 / 1",
        ("--option", "dim=4,8", "--epochs", 2): "recipe: epochs = 1 / epochs = 2",
    }
    for words, says in other.items():
        done = tune(recipe, *words, "--out", out)
        assert isinstance(done.exception, UsageError), done.output
        assert says in str(done.exception)
    assert (out / "trials.jsonl").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("")
    done = tune(recipe, "--option", "dim=4,8", "--out", tmp_path / "photos")
    assert isinstance(done.exception, UsageError)
    assert "something else" in str(done.exception)


def test_a_trial_that_fails_is_recorded_and_the_others_go_on(recipe: Path, tmp_path: Path) -> None:
    """random-pairs gives pairs, which the loss triplet does not take."""
    out = tmp_path / "search"
    words = ("--option", "sampler=random-pairs,hard-triplet", "--trials", 6, "--out", out)
    found = succeed(recipe, *words)
    failed = [trial for trial in found["trials"] if trial["failure"]]
    measured = [trial for trial in found["trials"] if trial["score"] is not None]
    assert failed
    assert measured
    assert len(failed) + len(measured) == 6
    for trial in failed:
        assert trial["options"] == {"sampler": "random-pairs"}
        assert "losses that fit" in trial["failure"]
    # The same options are trained once.
    assert len({trial["run"] for trial in measured}) == 1
    assert len(list((out / "trials").iterdir())) == 1
    shown = tune(recipe, *words).stdout
    assert "failed: loss" in shown


def test_when_every_trial_fails_the_last_says_why(recipe: Path, tmp_path: Path) -> None:
    done = tune(recipe, "--option", "sampler=random-pairs", "--trials", 2, "--out", tmp_path / "s")
    assert isinstance(done.exception, UsageError)
    assert "none of 2 trials could be trained; last: loss" in str(done.exception)


def test_damaged_files_of_a_search_are_refused(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "search"
    words = ("--option", "dim=4,8", "--out", out)
    succeed(recipe, *words, "--trials", 1)
    lines, plan = (out / "trials.jsonl").read_text(), (out / "search.json").read_text()

    def refused(name: str, text: str) -> str:
        (out / name).write_text(text)
        done = tune(recipe, *words)
        assert isinstance(done.exception, ArtefactError), done.exception
        return str(done.exception)

    assert "trials.jsonl is not the file of a search" in refused("trials.jsonl", "nonsense\n")
    # As of a search that has changed since, which would not go on as it began.
    other = lines.replace('"dim": "', '"dim": "9')
    assert "as trial 1, and the search 'tpe' of now" in refused("trials.jsonl", other)
    (out / "trials.jsonl").write_text(lines)
    assert "search.json can't be read" in refused("search.json", "nonsense")
    earlier = plan.replace('"format": 2', '"format": 1')
    assert "it is of format 1, not 2" in refused("search.json", earlier)


@pytest.mark.parametrize(
    "damaged",
    [pytest.param(each, marks=pytest.mark.exhaustive) for each in ("cut", "first")],
)
def test_a_trial_whose_line_is_damaged_is_done_again(
    recipe: Path, tmp_path: Path, damaged: str
) -> None:
    out = tmp_path / "search"
    words = (*SPACE, "--out", out)
    whole = succeed(recipe, *SPACE, "--out", tmp_path / "whole", "--trials", 3)
    succeed(recipe, *words, "--trials", 1 if damaged == "cut" else 2)
    text = (out / "trials.jsonl").read_text()
    # The first as a crash leaves it, which is the only line then.
    (out / "trials.jsonl").write_text(text[:-20] if damaged == "cut" else f"x{text}")
    assert outcomes(succeed(recipe, *words, "--trials", 3)) == outcomes(whole)
    assert tune(recipe, *words, "--trials", 3).stderr == "", "there was nothing left to do"


def test_the_time_is_kept(recipe: Path, tmp_path: Path) -> None:
    found = succeed(recipe, *SPACE, "--trials", 9, "--timeout", 0, "--out", tmp_path / "search")
    assert len(found["trials"]) == 1


def test_the_seed_decides_what_is_tried(recipe: Path, tmp_path: Path) -> None:
    words = (*SPACE, "--trials", 1, "--out")
    first = succeed(recipe, *words, tmp_path / "first")
    other = succeed(recipe, *words, tmp_path / "other", "--seed", 1)
    assert outcomes(first) != outcomes(other)


def test_a_recipe_with_an_object_cannot_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('sampler = "object mine:Sampler"\n')
    done = tune(path, "--option", "dim=4,8")
    assert isinstance(done.exception, UsageError)
    assert "can't be repeated from the config alone" in str(done.exception)


def test_a_folder_that_cannot_be_written_says_so(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = tune(recipe, "--option", "dim=4,8", "--out", tmp_path / "search")
    assert isinstance(done.exception, ResourceError)
    assert "No space left" in str(done.exception)


@pytest.mark.exhaustive
def test_a_search_is_resumed_by_whoever_began_it(recipe: Path, tmp_path: Path) -> None:
    """At random where it was asked for, though the plugin's search is installed."""
    words = (*SPACE, "--out", tmp_path / "search")
    begun = succeed(recipe, *words, "--trials", 1, "--search", "random")
    again = succeed(recipe, *words, "--trials", 2)
    assert again["trials"][:1] == begun["trials"]
    whole = succeed(
        recipe, *SPACE, "--trials", 2, "--search", "random", "--out", tmp_path / "whole"
    )
    assert outcomes(again) == outcomes(whole)
    done = tune(recipe, *words, "--search", "tpe")
    assert "search: random / tpe" in str(done.exception)
    mistyped = (*SPACE, "--out", tmp_path / "new", "--search")
    assert "did you mean 'tpe'" in str(tune(recipe, *mistyped, "tp").exception)
    succeed(recipe, *mistyped, "tpe", "--trials", 1)


def test_without_a_plugin_the_search_is_at_random(recipe: Path, tmp_path: Path) -> None:
    words = ("tune", recipe, "--option", "dim=4,8", "--trials", 1, "--out", tmp_path / "search")
    done = metricforge(*words, env={"METRICFORGE_PLUGINS": ""})
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "search" / "search.json").read_text())["search"] == "random"


def test_a_split_without_validation_classes_can_not_be_searched(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.but(split="classes:train=0-4,validation=5,test=6-9").to_toml())
    done = tune(path, "--option", "dim=4,8", "--out", tmp_path / "search")
    assert isinstance(done.exception, UsageError)
    assert "needs two validation classes" in str(done.exception)
    assert not (tmp_path / "search" / "trials.jsonl").exists()


@pytest.mark.fault(120)
def test_a_search_is_not_resumed_on_images_that_have_changed(tmp_path: Path) -> None:
    files = tmp_path / "files"
    rng = np.random.default_rng(0)
    for number in range(10):
        (files / f"class{number}").mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(files / f"class{number}" / f"{index}.png")
    path = tmp_path / "mine.toml"
    sampler = "hard-triplet:classes=2,per_class=2"
    path.write_text(RECIPE.but(dataset=f"folder:path={files},size=8", sampler=sampler).to_toml())
    words = ("--option", "dim=3,4,5", "--out", tmp_path / "search")
    succeed(path, *words, "--trials", 1)
    image = files / "class0" / "0.png"
    image.write_bytes(image.read_bytes() + b"more")
    done = tune(path, *words, "--trials", 2)
    assert isinstance(done.exception, DataError), done.exception
    assert "images or labels have changed since the search" in str(done.exception)
