"""Guards of the global generators of python, numpy and torch."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from metricforge.testing.checks import Broken

_seeds = itertools.count(1_000_003)

NAMES = ("python's random", "numpy.random", "torch's generator")


def set_globals(seed: int) -> None:
    """Seed all three; another seed reveals whatever depends on them."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def preserved() -> Iterator[None]:
    """Restore the global generators afterwards: the caller may rely on them."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def untouched(where: str, torch_too: bool = True) -> Iterator[None]:
    """Broken when a global generator is in another state after the block than before it.

    Each block starts from its own states: a repeated seeding is detected, too.
    """
    seed = next(_seeds)
    random.seed(seed)
    np.random.seed(seed)
    if torch_too:
        torch.manual_seed(seed)
    before = _states()
    yield
    watched = len(NAMES) if torch_too else len(NAMES) - 1
    for name, old, new in list(zip(NAMES, before, _states(), strict=True))[:watched]:
        if old != new:
            raise Broken(
                f"drew from or seeded {name} in {where}; draw from the rng that is handed over."
            )


def _states() -> tuple[Any, ...]:
    kind, keys, *counters = np.random.get_state()
    numpy = (kind, np.asarray(keys).tobytes(), *counters)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    torches = b"".join(state.numpy().tobytes() for state in (torch.get_rng_state(), *cuda))
    return random.getstate(), numpy, torches
