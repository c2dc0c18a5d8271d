"""The schedule `constant`."""

from __future__ import annotations

from metricforge.contracts import Schedule
from metricforge_standard.schedules._bounds import refuse_beyond


def constant(*, warmup: float = 0.0) -> Schedule:
    """A linear rise over `warmup`, then the same rate.

    Args:
        warmup: Fraction of the whole training, 0 to 1.
    """
    refuse_beyond("warmup is a fraction of the training", warmup)
    return lambda spent: min(1.0, spent / warmup) if warmup else 1.0
