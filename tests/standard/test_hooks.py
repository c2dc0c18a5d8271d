"""Hooks of a run: TensorBoard's files, one of the user's own, and what goes wrong in one."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from metricforge_standard.hooks import tensorboard
from metricforge_standard.hooks.tensorboard import OF_STEPS, TensorBoard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import metricforge
from metricforge.errors import Interrupted, PluginError, UsageError
from tests.cli.process import metricforge as command
from tests.cli.process import wrapped
from tests.cli.small_run import make_images, words


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"))


def scalars(run: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows of a run: values by tag and step."""
    told = EventAccumulator(str(run / "tensorboard"))
    told.Reload()
    return {tag: {e.step: e.value for e in told.Scalars(tag)} for tag in told.Tags()["scalars"]}


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_is_told_what_the_metrics_say_over_a_kill_too(
    images: Path, tmp_path: Path
) -> None:
    given = ("train", *words(images), "--hook", "tensorboard", "--clip", 1, "--save-steps", 3,
             "--auto-resume", "--out", tmp_path / "r")  # fmt: skip
    assert wrapped("killed=6", *given).returncode < 0
    done = command(*given)
    assert done.returncode == 0, done.stderr
    found, lines = scalars(tmp_path / "r"), metrics(tmp_path / "r")
    steps = [line for line in lines if "epoch_end" not in line]
    for name in ("loss", "lr", "gradient_norm", "active_share"):
        expected = {line["step"]: pytest.approx(line[name], abs=1e-6) for line in steps}
        assert found[f"step/{name}"] == expected
    ends = [line for line in lines if "epoch_end" in line]
    expected = {line["step"]: pytest.approx(line["validation"]["map@r"]) for line in ends}
    assert found["validation/map@r"] == expected
    assert "images_per_second" in "".join(found)


def test_what_is_begun_in_the_same_second_is_read_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step, process in enumerate((999, 1000)):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        told = dict.fromkeys((*OF_STEPS, "images", "seconds"), 1.0) | {"step": step + 1}
        hook = TensorBoard(tmp_path, step)
        hook.on_step(told, torch.zeros(1, 2))
        hook.on_end()
    assert set(scalars(tmp_path)["step/loss"]) == {1, 2}


def test_a_second_may_end_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TensorBoard(tmp_path, 0).on_end()
    (written,) = (tmp_path / "tensorboard").iterdir()
    second = int(written.name.split(".")[3])
    # A clock that is put back a little, and one that goes on between two looks.
    told = iter([second + 0.9, second - 0.1, second + 0.9999, second + 1.0001])
    monkeypatch.setattr(tensorboard.time, "time", lambda: next(told))
    tensorboard._wait_for_a_later_second(tmp_path / "tensorboard")
    assert next(told, None) is None


def test_every_step_but_some(images: Path, tmp_path: Path) -> None:
    done = command("train", *words(images), "--hook", "tensorboard:every=3", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(scalars(tmp_path)["step/loss"]) == {3, 6}


class Listens:
    """A user's own hook."""

    def __init__(self, broken: bool = False) -> None:
        self.steps: list[int] = []
        self.ended, self.broken = 0, broken

    def on_step(self, record: Any, embeddings: Any) -> None:
        assert embeddings.shape == (record["images"], 4)
        self.steps.append(record["step"])
        if self.broken:
            raise ValueError("no more")

    def on_end(self) -> None:
        self.ended += 1


def options(images: Path, **more: Any) -> dict[str, Any]:
    return {
        "dataset": f"npz:path={images}", "split": "classes:train=0-5,validation=6-7,test=8-9",
        "sampler": "hard-triplet:classes=3,per_class=4", "backbone": "conv4:channels=4", "dim": 4,
        "orientations": 1, "epochs": 1, "protocols": "retrieval", "device": "cpu",
        "progress": False, **more,
    }  # fmt: skip


def test_an_object_of_ones_own_hears_of_each_step_and_the_end(images: Path, tmp_path: Path) -> None:
    hook = Listens()
    run = metricforge.train(hooks=[hook], out=tmp_path / "r", **options(images))
    assert hook.steps == list(range(1, run.summary["steps"] + 1))
    assert hook.ended == 1
    assert [str(hook) for hook in run.recipe.hooks] == [f"object {__name__}:Listens"]


def test_what_fails_in_one_is_its_own_fault_and_it_still_hears_of_the_end(
    images: Path, tmp_path: Path
) -> None:
    hook = Listens(broken=True)
    with pytest.raises(PluginError, match=r"Listens.* failed: ValueError: no more"):
        metricforge.train(hooks=[hook], out=tmp_path / "r", **options(images))
    assert (hook.steps, hook.ended) == ([1], 1)
    with pytest.raises(PluginError, match="must have one of on_end, on_epoch, on_step"):
        metricforge.train(hooks=[object()], out=tmp_path / "s", **options(images))


class Spoils:
    """A hook that changes what it is told, and fails in the end."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def on_step(self, record: Any, embeddings: Any) -> None:
        record.clear()
        embeddings.zero_()

    def on_epoch(self, record: Any) -> None:
        record["validation"].clear()

    def on_end(self) -> None:
        if self.fails:
            raise OSError("no room")


class Stops(Listens):
    """A hook by which the run is asked to stop after its second step."""

    def on_step(self, record: Any, embeddings: Any) -> None:
        super().on_step(record, embeddings)
        if record["step"] == 2:
            signal.raise_signal(signal.SIGTERM)


def test_what_one_does_to_its_copies_reaches_neither_run_nor_other_hooks(
    images: Path, tmp_path: Path
) -> None:
    told = Listens()
    plain = metricforge.train(out=tmp_path / "a", **options(images))
    run = metricforge.train(hooks=[Spoils(), told], out=tmp_path / "b", **options(images))
    assert told.steps == list(range(1, run.summary["steps"] + 1))
    ends = [metrics(one.path)[-1] for one in (plain, run)]
    assert ends[0]["spread"] == ends[1]["spread"] > 0
    assert run.summary["validation"] == plain.summary["validation"]


def test_what_fails_at_the_end_hides_no_error_before_it(images: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="saved at step 2") as stopped:
        metricforge.train(hooks=[Stops(), Spoils(True)], out=tmp_path / "r", **options(images))
    assert stopped.value.exit_code == 143
    assert "Spoils failed: OSError: no room" in (tmp_path / "r" / "log.txt").read_text()
    with pytest.raises(PluginError, match=r"Spoils failed: OSError: no room"):
        metricforge.train(hooks=[Spoils(True)], out=tmp_path / "s", **options(images))


def test_an_object_stops_no_run_from_going_on_without_it(images: Path, tmp_path: Path) -> None:
    given = {**options(images), "hooks": [Stops(), "tensorboard"]}
    with pytest.raises(Interrupted):
        metricforge.train(out=tmp_path / "r", **given)
    done = command("train", "--resume", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    told = f"left out: the hook object {__name__}:Stops, which only its program has."
    assert told in done.stderr
    assert set(scalars(tmp_path / "r")["step/loss"]) == {1, 2, 3, 4}
    again = command("train", "--config", tmp_path / "r" / "config.toml", "--out", tmp_path / "s")
    assert again.returncode == 0, again.stderr
    assert told in again.stderr
    assert metrics(tmp_path / "r")[-1]["validation"] == metrics(tmp_path / "s")[-1]["validation"]


def test_options_are_checked(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every >= 1"):
        metricforge.train(hooks="tensorboard:every=0", out=tmp_path / "r", **options(images))
