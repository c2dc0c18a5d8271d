"""The memory against a plain dict; what it wraps; a run that is stopped and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from metricforge_xbm import XBM
from torch import Tensor

from metricforge.cli import cli
from metricforge.contracts import Triplets
from metricforge.errors import UsageError
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.testing import check_sampler

LABELS = torch.arange(24) // 4
COMMAND = Path(sys.executable).with_name("metricforge")


class Inner:
    """A sampler to wrap, of fixed batches."""

    default_loss = "triplet:margin=0.5"
    notes = ("a note.",)

    def __init__(self) -> None:
        self.miner = self
        self.kind = Triplets

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        yield from torch.from_numpy(rng.permutation(24)).split(6)

    def __call__(self, embeddings: Tensor, labels: Tensor) -> None: ...


def wrapping(inner: Any, images: int = 24, **options: Any) -> XBM:
    return XBM(torch.zeros(images, dtype=torch.int64), lambda spec: inner, **options)


def installed(labels: Tensor = LABELS) -> Callable[[str], Any]:
    registry = Registry.installed()
    return lambda spec: registry.build("sampler", Spec.parse(spec), {"labels": labels})


class Oracle:
    """The newest embedding of each image in a dict, which keeps the order of what is put in."""

    def __init__(self, images: int, size: int, warmup: int | None) -> None:
        self.images, self.size, self.warmup, self.steps = images, size, warmup, 0
        self.kept: dict[int, tuple[list[float], int]] = {}
        self.seen: set[int] = set()

    def remember(
        self, rows: list[list[float]], labels: list[int], images: list[int]
    ) -> list[tuple[list[float], int]]:
        late = self.steps >= self.warmup if self.warmup is not None else (
            len(self.seen) == self.images
        )  # fmt: skip
        shown = [kept for image, kept in self.kept.items() if image not in images] if late else []
        put: set[int] = set()
        for row, label, image in zip(rows, labels, images, strict=True):
            if image not in put:
                self.kept.pop(image, None)
                self.kept[image] = (row, label)
                put.add(image)
        while len(self.kept) > self.size:
            del self.kept[next(iter(self.kept))]
        self.steps += 1
        self.seen |= put
        return shown


IMAGES = 9
batches = st.lists(st.lists(st.integers(0, IMAGES - 1), min_size=1, max_size=7), max_size=10)


@given(batches, st.integers(1, 12), st.none() | st.integers(0, 5))
def test_it_remembers_what_a_plain_dict_does(
    drawn: list[list[int]], size: int, warmup: int | None
) -> None:
    sampler, oracle = (
        wrapping(Inner(), IMAGES, size=size, warmup=warmup),
        Oracle(IMAGES, size, warmup),
    )
    number = 0.0
    for images in drawn:
        rows = [[number := number + 1.0, -number] for _ in images]
        labels = [image // 3 for image in images]
        given_rows = torch.tensor(rows)
        found = sampler.remember(given_rows, torch.tensor(labels), torch.tensor(images))
        expected = oracle.remember(rows, labels, images)
        assert found[0].tolist() == [row for row, _ in expected]
        assert found[1].tolist() == [label for _, label in expected]
        assert found[0].dtype == torch.float32
        assert found[1].dtype == torch.int64
        assert found[0].shape[1:] == (2,)
        # What the core does with its batch must not reach the memory.
        given_rows.zero_()


@given(batches, st.integers(1, 12), st.none() | st.integers(0, 5), st.integers(0, 10))
def test_its_state_goes_on_where_it_was(
    drawn: list[list[int]], size: int, warmup: int | None, stop: int
) -> None:
    def make() -> XBM:
        return wrapping(Inner(), IMAGES, size=size, warmup=warmup)

    def step(sampler: XBM, images: list[int], seed: int) -> list[list[Any]]:
        rows = torch.randn(len(images), 3, generator=torch.Generator().manual_seed(seed))
        labels = torch.tensor(images) // 3
        return [part.tolist() for part in sampler.remember(rows, labels, torch.tensor(images))]

    straight, stopped = make(), make()
    for number, images in enumerate(drawn):
        if number == stop:
            state = {name: value.clone() for name, value in stopped.state_dict().items()}
            stopped = make()
            stopped.load_state_dict(state)
        assert step(straight, images, number) == step(stopped, images, number)


def fed(sampler: XBM, images: list[int]) -> int:
    """How many rows of its memory a batch of these images is compared with."""
    places = torch.tensor(images)
    return len(sampler.remember(torch.ones(len(images), 2), LABELS[places], places)[0])


def test_warming_up_takes_so_many_steps() -> None:
    sampler = wrapping(Inner(), warmup=2)
    assert [fed(sampler, [n]) for n in range(5)] == [0, 0, 2, 3, 4]
    assert [fed(wrapping(Inner(), warmup=0), [n]) for n in range(2)] == [0, 0]


def test_by_default_it_warms_up_until_every_image_was_seen() -> None:
    sampler = wrapping(Inner(), images=4)
    # The first ones again and again are not all of them.
    assert [fed(sampler, [0, 1]) for _ in range(5)] == [0] * 5
    assert fed(sampler, [2]) == 0
    assert not sampler.warm
    assert fed(sampler, [3]) == 0
    assert sampler.warm
    assert fed(sampler, [0]) == 3


def test_the_images_of_the_batch_are_never_in_what_it_shows() -> None:
    sampler = wrapping(Inner(), images=6, warmup=0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        images = torch.from_numpy(rng.integers(0, 6, 4))
        # Each embedding says whose it is.
        rows = images.float()[:, None].expand(-1, 2).clone()
        shown, _ = sampler.remember(rows, images // 2, images)
        assert not set(shown[:, 0].long().tolist()) & set(images.tolist())


def test_half_precision_is_kept_as_the_batch_comes() -> None:
    sampler = wrapping(Inner(), warmup=0)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        rows = torch.ones(2, 3, dtype=dtype)
        shown, _ = sampler.remember(rows, torch.zeros(2).long(), torch.tensor([0, 1]))
        assert shown.dtype == dtype


def test_it_passes_on_what_it_wraps() -> None:
    inner = Inner()
    sampler = wrapping(inner)
    assert sampler.miner is inner
    assert sampler.default_loss == "triplet:margin=0.5"
    assert sampler.notes == ("a note.",)
    assert not hasattr(sampler, "refresh")
    assert not hasattr(sampler, "miner_at")
    mine, theirs = (
        sampler.epoch(np.random.default_rng(3), 0),
        inner.epoch(np.random.default_rng(3)),
    )
    assert [batch.tolist() for batch in mine] == [batch.tolist() for batch in theirs]


def test_refreshing_reaches_what_it_wraps() -> None:
    class Refreshed(Inner):
        seen: Tensor | None = None

        def refresh(self, embeddings: Tensor) -> None:
            self.seen = embeddings

    inner = Refreshed()
    wrapping(inner).refresh(torch.ones(24, 2))
    assert inner.seen is not None
    assert inner.seen.shape == (24, 2)


def test_the_state_of_what_it_wraps_is_part_of_its_own() -> None:
    class Stateful(Inner):
        # The names that the memory uses itself, and one with its prefix.
        held: dict[str, Tensor] | None = None

        def state_dict(self) -> dict[str, Tensor]:
            return {name: torch.tensor(7) for name in ("labels", "steps", "sampler.x")}

        def load_state_dict(self, state: dict[str, Tensor]) -> None:
            self.held = state

    first = wrapping(Stateful())
    fed(first, [1, 2])
    inner = Stateful()
    again = wrapping(inner)
    again.load_state_dict(first.state_dict())
    assert inner.held == {name: torch.tensor(7) for name in ("labels", "steps", "sampler.x")}
    assert again.state_dict()["labels"].tolist() == LABELS[[1, 2]].tolist()


def test_a_sampler_with_a_memory_is_not_wrapped() -> None:
    with pytest.raises(UsageError, match="xbm can't wrap 'xbm', which has a memory of its own"):
        XBM(LABELS, installed(), sampler="xbm")


@pytest.mark.parametrize("options", [{"size": 0}, {"size": -1}, {"warmup": -1}], ids=str)
def test_sizes_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="size >= 1 and warmup >= 0"):
        wrapping(Inner(), **options)


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'hard-triplet'"):
        XBM(LABELS, installed(), sampler="hard-triplett")


INNER = "hard-triplet:classes=3,per_class=4"


def test_it_keeps_the_contract() -> None:
    assert check_sampler(XBM, sampler=INNER, size=32, warmup=2).passed
    assert check_sampler("xbm").passed


SCHEDULE = "schedule:0=semihard-triplet,1=hard-triplet"


def test_it_wraps_a_schedule() -> None:
    sampler = XBM(LABELS, installed(), sampler=SCHEDULE)
    alone = installed()(SCHEDULE)
    for number, miner in enumerate(("SemiHard", "PacedHard")):
        mine, theirs = (s.epoch(np.random.default_rng(3), number) for s in (sampler, alone))
        assert [batch.tolist() for batch in mine] == [batch.tolist() for batch in theirs]
        assert type(sampler.miner_at(number, 0)).__name__ == miner
    assert check_sampler("xbm", sampler=SCHEDULE, size=32, warmup=2).passed


def test_a_schedules_later_miner_that_passes_the_memory_over_is_refused_when_it_comes() -> None:
    sampler = XBM(LABELS, installed(), sampler="schedule:0=hard-triplet,1=random-triplets")
    assert sampler.miner_at(0, 0) is sampler.miner
    with pytest.raises(UsageError, match="its miner names places in the batch"):
        sampler.miner_at(1, 0)


def test_trying_a_miner_leaves_what_it_keeps_as_it_is() -> None:
    class Counts(Inner):
        calls = 0

        def __call__(self, embeddings: Tensor, labels: Tensor) -> None:
            self.calls += 1

    inner = Counts()
    wrapping(inner)
    assert inner.calls == 0


def start(*words: object) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([str(COMMAND), *map(str, words)], text=True, env=env, **pipes)  # type: ignore[call-overload,no-any-return]


def finished(*words: object) -> None:
    """A command to its end, in this process, which has loaded the libraries."""
    done = CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False)
    assert done.exception is None, done.output


def wait_for_steps(metrics: Path, steps: int) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if metrics.is_file() and len(metrics.read_text().splitlines()) >= steps:
            return
        time.sleep(0.005)
    raise AssertionError(f"{metrics} never had {steps} lines")


SPEC = f'xbm:sampler="{INNER}",size=256,warmup=2'
SHORT = ("--dataset", "digits", "--images", 600, "--orientations", 1, "--no-test", "--quiet")
TRAIN = ("train", "--sampler", SPEC, *SHORT)


def weights(run: Path) -> bytes:
    return (run / "model" / "weights.safetensors").read_bytes()


@pytest.mark.exhaustive  # in the loop: test_component_state.py
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    finished(*TRAIN, "--out", tmp_path / "straight")
    process = start(*TRAIN, "--out", tmp_path / "stopped")
    wait_for_steps(tmp_path / "stopped" / "metrics.jsonl", 20)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    newest = max((tmp_path / "stopped" / "checkpoints").glob("step-*"))
    assert (newest / "sampler.safetensors").is_file()
    finished("train", "--resume", tmp_path / "stopped", "--quiet")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "straight")
    assert "xbm" in (tmp_path / "straight" / "config.toml").read_text()
    finished("train", "--sampler", INNER, *SHORT, "--out", tmp_path / "plain")
    assert weights(tmp_path / "plain") != weights(tmp_path / "straight"), "the memory does nothing"
