"""Random numbers as a pure function of a position in a run."""

from __future__ import annotations

import numpy as np
import torch


def generator(seed: int, *position: int) -> np.random.Generator:
    """The random numbers of a position in a run, e.g. (seed, epoch): a pure function of it."""
    # With the length in front: [7], [7, 0] and [7, 0, 0] are one seed to numpy.
    return np.random.default_rng([len(position), seed, *position])


def seed_torch(seed: int, *position: int) -> None:
    """Seed torch's own generator for a position in a run, for layers that draw (dropout)."""
    value = int(generator(seed, *position).integers(2**62))
    # Not torch.manual_seed: it calls every kind of device in turn, which slows down a small step.
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(value)
