"""The schedule `step`."""

from __future__ import annotations

import math

from metricforge.contracts import Schedule
from metricforge.errors import UsageError
from metricforge_standard.schedules._bounds import refuse_beyond
from metricforge_standard.schedules.constant import constant


def step(*, every: float = 0.4, factor: float = 0.1, warmup: float = 0.0) -> Schedule:
    """The rate is multiplied by `factor` each time that another `every` of the training is spent.

    With 20 epochs, every=0.4 is eight of them, so that with factor=0.1 the last four have a
    hundredth of the rate.

    Args:
        every: Fraction of the whole training, above 0, to 1.
        factor: Factor on the learning rate, 0 to 1.
        warmup: Fraction of the whole training, 0 to 1, over which the rate rises linearly.
    """
    refuse_beyond("factor is a factor on the learning rate", factor)
    if not 0 < every <= 1:
        raise UsageError(
            f"in a schedule every is a fraction of the training, above 0, not {every}."
        )
    rise = constant(warmup=warmup)
    # The quotient of two decimal fractions may be rounded below the whole number that it is.
    return lambda spent: rise(spent) * factor ** math.floor(spent / every + 1e-9)
