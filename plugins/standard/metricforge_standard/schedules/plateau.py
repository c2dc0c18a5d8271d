"""The schedule `plateau`."""

from __future__ import annotations

from metricforge.errors import UsageError
from metricforge_standard.schedules._bounds import refuse_beyond
from metricforge_standard.schedules.constant import constant


class Plateau:
    """The rate is multiplied by `factor` after `patience` epochs without a better score.

    The score is the one on validation classes that selects the epoch; a score equal to the best is
    not better. The count of epochs then starts again.

    Args:
        patience: Epochs without a better score, 1 or more.
        factor: Factor on the learning rate, 0 to 1.
        end: Least factor in total, 0 to 1.
        warmup: Fraction of the whole training, 0 to 1, over which the rate rises linearly.
    """

    def __init__(
        self, *, patience: int = 5, factor: float = 0.1, end: float = 0.0, warmup: float = 0.0
    ) -> None:
        if patience < 1:
            raise UsageError(
                f"in a schedule patience is a number of epochs, 1 or more, not {patience}."
            )
        refuse_beyond("factor is a factor on the learning rate", factor)
        refuse_beyond("end is a factor on the learning rate", end)
        self.patience = patience
        self._factor, self._end = factor, end
        self._rise = constant(warmup=warmup)

    def __call__(self, spent: float) -> float:
        """The factor on the learning rate while scores improve."""
        return self._rise(spent)

    def reduced(self, rate: float) -> float:
        """The factor after `patience` epochs without improvement."""
        return max(self._end, rate * self._factor)
