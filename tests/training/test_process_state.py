"""What a component changes in the process is undone, and the component is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metricforge.contracts import Triplets
from metricforge.errors import PluginError, UsageError
from metricforge.plugin_errors import blaming
from metricforge.runtime import Runtime
from metricforge.training.loop import TrainState, fit

CPU = Runtime(torch.device("cpu"))
State = tuple[str, torch.dtype, int]


def state() -> State:
    return str(Path.cwd()), torch.get_default_dtype(), torch.get_num_threads()


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Even if the product fails to restore it, other tests have what they had."""
    folder, dtype, threads = state()
    yield
    os.chdir(folder)
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)


CHANGES: dict[str, Callable[[], object]] = {
    "folder": lambda: os.chdir("/"),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
}
every_change = pytest.mark.parametrize("what", CHANGES)


def changed(*changes: Callable[[], object], error: BaseException | None = None) -> None:
    """What a component does that makes these changes, and then fails."""
    with blaming(Meddling):
        for change in changes:
            change()
        if error:
            raise error


class Meddling:
    """A component that changes something in the process when it is called."""

    kind = Triplets

    def __init__(self, change: Callable[[], object], call: Callable[..., object]) -> None:
        self.change, self.call = change, call

    def __call__(self, *given: object) -> object:
        self.change()
        return self.call(*given)

    def epoch(self, rng: object) -> Iterator[object]:
        self.change()
        yield torch.arange(12)


@pytest.mark.fault(77)
@every_change
@pytest.mark.parametrize("role", ["loss", "miner", "sampler"])
def test_a_component_that_changes_the_process_is_named(make_setup, what: str, role: str) -> None:
    setup = make_setup(loss="triplet")
    before = state()
    odd = Meddling(CHANGES[what], getattr(setup, role) if role != "sampler" else None)
    odd.miner = setup.miner
    told = rf"Meddling must not change the process's {what} from "
    with pytest.raises(PluginError, match=told):
        list(fit(replace(setup, **{role: odd}), TrainState(), CPU))
    assert state() == before


@pytest.mark.fault(77)
@every_change
@pytest.mark.parametrize("error", [ValueError("odd"), UsageError("odd"), KeyboardInterrupt()])
def test_what_is_changed_before_an_error_is_undone_as_well(what: str, error: BaseException) -> None:
    before = state()
    with pytest.raises((PluginError, UsageError, KeyboardInterrupt)):
        changed(CHANGES[what], error=error)
    assert state() == before


@pytest.mark.fault(77)
def test_several_changes_are_all_named_and_none_is_no_error() -> None:
    told = r"Meddling must not .* folder from .* to /, dtype from .*64, threads from 1 to 2\."
    with pytest.raises(PluginError, match=told):
        changed(*CHANGES.values())
    with blaming(Meddling):
        torch.set_num_threads(torch.get_num_threads())


@pytest.mark.fault(77)
def test_a_folder_that_was_removed_is_nobodys_fault(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with blaming(Meddling):
        pass


class Constant:
    """A loss without a path to the embeddings, which backward does not mind."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, embeddings: object, labels: object, tuples: object) -> torch.Tensor:
        return torch.tensor(self.value, requires_grad=True)


@pytest.mark.fault(78)
def test_a_loss_that_does_not_depend_on_the_embeddings_is_refused(make_setup) -> None:
    setup = make_setup(loss=Constant(0.5))
    before = [p.detach().clone() for p in setup.model.parameters()]
    told = "Constant must depend on the embeddings: nothing is learned from it; it gave 0.5 without"
    with pytest.raises(PluginError, match=told):
        list(fit(setup, TrainState(), CPU))
    assert all(a.equal(b) for a, b in zip(setup.model.parameters(), before, strict=True))


def test_a_loss_of_zero_may_be_a_constant(make_setup) -> None:
    """As of a batch without tuples."""
    assert list(fit(make_setup(loss=Constant(0.0), epochs=1), TrainState(), CPU))
