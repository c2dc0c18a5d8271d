"""The schedule `cosine`."""

from __future__ import annotations

import math

from metricforge.contracts import Schedule
from metricforge_standard.schedules._bounds import refuse_beyond


def cosine(*, warmup: float = 0.05, end: float = 0.0) -> Schedule:
    """A linear rise over `warmup`, then half a cosine down to `end`.

    Args:
        warmup: Fraction of the whole training, 0 to 1: 0.05 is its first twentieth.
        end: Factor on the learning rate, 0 to 1: with 0.1 the last steps have a tenth of it.
    """
    refuse_beyond("warmup is a fraction of the training", warmup)
    refuse_beyond("end is a factor on the learning rate", end)

    def factor(spent: float) -> float:
        if spent < warmup:
            return spent / warmup
        fall = (spent - warmup) / max(1 - warmup, 1e-9)
        return end + (1 - end) * (1 + math.cos(math.pi * fall)) / 2

    return factor
