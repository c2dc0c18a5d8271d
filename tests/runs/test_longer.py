"""A finished run that is trained longer: from its last checkpoint, by its schedule."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import metricforge
from metricforge.errors import Interrupted, UsageError
from metricforge.recipes.recipe import Recipe
from metricforge.report.progress import Listener
from metricforge.runs.resume import resume
from metricforge.training.records import Record
from tests.cli.process import metricforge as command

SHORT: dict[str, Any] = {
    "dataset": "digits", "backbone": "conv4:channels=4", "dim": 4, "orientations": 1,
    "protocols": ("retrieval",), "progress": False,
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    metricforge.train(**SHORT, epochs=2, out=tmp_path / "run")
    return tmp_path / "run"


def longer(path: Path, **changes: Any) -> Any:
    return resume(path, recipe=Recipe.from_toml(path / "config.toml").but(**changes))


def epochs_of(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "validation" in line]


def test_more_epochs_go_on_from_the_last_checkpoint(run: Path) -> None:
    before = epochs_of(run)
    assert longer(run, epochs=4).finished
    assert epochs_of(run)[:2] == before
    assert [line["epoch"] for line in epochs_of(run)] == [1, 2, 3, 4]
    assert Recipe.from_toml(run / "config.toml").epochs == 4
    assert len((run / "evaluations.jsonl").read_text().splitlines()) == 2


@pytest.mark.fault(134)
def test_a_run_of_two_schedules_says_so_and_is_no_other_seed(run: Path, tmp_path: Path) -> None:
    longer(run, epochs=3)
    longer(run, epochs=4)
    assert json.loads((run / "env.json").read_text())["extended_after"] == [2, 3]
    assert "python" in json.loads((run / "env.json").read_text())
    assert "# Extended after 2 and 3 epochs, to 4." in (run / "config.toml").read_text()
    page = (run / "report.html").read_text()
    assert "extended after 2 and 3 epochs; each time" in page
    assert "metricforge train --config" not in page
    other = metricforge.train(**SHORT, epochs=4, seed=1, out=tmp_path / "other")
    third = metricforge.train(**SHORT, epochs=4, seed=2, out=tmp_path / "third")
    assert not metricforge.compare([run, other]).seeds
    assert list(metricforge.compare([run, other, third]).seeds) == [str(other.path)]


@pytest.mark.fault(135)
@pytest.mark.parametrize(
    ("norms", "epochs", "best"),
    [
        ("batch", 6, 1),  # it got worse
        ("frozen", 6, 2),  # it stayed, and of equals the later is the best
        ("batch", 2, 1),  # it would have stopped here if it had been longer
        ("frozen", 2, 2),  # likewise
    ],
)
def test_a_run_that_its_patience_ended_is_not_trained_longer(
    norms: str, epochs: int, best: int, tmp_path: Path
) -> None:
    metricforge.train(
        **SHORT, epochs=epochs, patience=1, optimizer="adamw:lr=1e-30", batch_norm=norms,
        out=tmp_path / "run",
    )  # fmt: skip
    before = (tmp_path / "run" / "config.toml").read_bytes()
    with pytest.raises(UsageError, match=f"stopped early: .* best epoch is {best} of 2"):
        longer(tmp_path / "run", epochs=9)
    assert (tmp_path / "run" / "config.toml").read_bytes() == before
    assert len((tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()) == 1


def test_the_schedule_goes_on_at_its_part_of_the_new_course(run: Path) -> None:
    longer(run, epochs=4)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "lr" in line and line["epoch"] == 3]
    spent = (2 + 0.5 / len(steps)) / 4  # the middle of the first step
    fall = (spent - 0.05) / 0.95
    assert steps[0]["lr"] == pytest.approx(1e-3 * (1 + math.cos(math.pi * fall)) / 2, rel=1e-3)
    assert (
        "goes on at 50% of its course, with 0.54 of the learning rate"
        in (run / "log.txt").read_text()
    )


class Stopping(Listener):
    def record(self, record: Record, epochs: int) -> None:
        if record.epoch == 3:
            raise Interrupted("stopped")


def test_one_that_is_stopped_on_the_way_is_resumed_to_the_same_bytes(
    run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    longer(run, epochs=4)
    recipe = Recipe.from_toml(other / "config.toml").but(epochs=4)
    with pytest.raises(Interrupted):
        resume(other, recipe=recipe, listener=Stopping())
    assert not metricforge.Run.open(other).finished
    assert resume(other).finished
    weights = [(path / "model" / "weights.safetensors").read_bytes() for path in (run, other)]
    assert weights[0] == weights[1]


def test_other_options_and_fewer_epochs_are_refused_and_change_nothing(run: Path) -> None:
    config = (run / "config.toml").read_text()
    for changes in ({"epochs": 4, "dim": 5}, {"epochs": 1}, {"epochs": 4, "augment": ("flip",)}):
        with pytest.raises(UsageError, match="was begun with other options"):
            longer(run, **changes)
    assert (run / "config.toml").read_text() == config
    assert metricforge.Run.open(run).finished


def test_a_run_without_checkpoints_or_with_a_budget_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UsageError, match="no checkpoint any more"):
        longer(run, epochs=4)
    metricforge.train(**SHORT, images=600, out=tmp_path / "budget")
    with pytest.raises(UsageError, match="by a budget of images or seconds"):
        longer(tmp_path / "budget", epochs=40)


def test_the_command_does_it(run: Path) -> None:
    done = command("train", "--resume", run, "--epochs", "3", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "of 3, by map@r" in done.stdout
