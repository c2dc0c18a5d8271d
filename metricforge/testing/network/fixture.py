"""Ways to build a network, and its inputs, for the checks of heads and of backbones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from metricforge.testing.checks import Broken, on_input
from metricforge.testing.randomness import set_globals
from metricforge.testing.subject import Subject

RTOL, ATOL = 1e-3, 1e-4  # of two ways to compute the same in float32


@dataclass(frozen=True)
class Trial:
    """One way to build a network: its offers, the shape of its input, the width of its output."""

    name: str
    offers: dict[str, Any]
    shape: tuple[int, ...]
    width: Callable[[Any], int]

    def inputs(self, count: int, seed: int = 0) -> Tensor:
        """Random rows or images [count, ...]."""
        rng = torch.Generator().manual_seed(seed)
        return torch.randn(count, *self.shape, generator=rng)

    def made(self, subject: Subject, seed: int = 0) -> Any:
        """A fresh network, its weights drawn from torch's generator as the core seeds it."""
        set_globals(seed)
        return subject.build(**self.offers)


Trials: TypeAlias = Callable[[Subject], Sequence[Trial]]


Run: TypeAlias = Callable[[Subject, Trial], str | None]


def on(trials: Trials, check: Run) -> Callable[[Subject], str | None]:
    """A check of one kind: `check` on each trial, with its name and docstring."""

    def run(subject: Subject) -> str | None:
        notes = []
        for trial in trials(subject):
            with on_input(trial.name):
                notes.append(check(subject, trial))
        return next(filter(None, notes), None)

    run.__name__, run.__doc__ = check.__name__, check.__doc__
    return run


def warmed(subject: Subject, trial: Trial) -> Any:
    """A network in evaluation mode, after a batch has updated its running statistics."""
    network = trial.made(subject).train()
    with torch.no_grad():
        network(trial.inputs(8, seed=3))
    return network.eval()


def is_module(network: object) -> None:
    """Broken unless it is an nn.Module."""
    if not isinstance(network, nn.Module):
        raise Broken(f"is a {type(network).__name__}; be a torch nn.Module.")
