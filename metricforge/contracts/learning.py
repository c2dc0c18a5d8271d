"""The contracts of an optimizer and of a learning-rate schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

Parameters: TypeAlias = Sequence[dict[str, Any]]
"""What an optimizer is built from: groups of parameters, as torch's optimizers take them.

Each group has the keys "params" and "name" (backbone, head or loss). The optimizer is a
`torch.optim.Optimizer` whose groups keep both, and whose option `lr` is the rate of all groups:
`--rates` and the schedule multiply it.
"""


@runtime_checkable
class Schedule(Protocol):
    """The learning rate over a training, as a factor on that of the optimizer."""

    def __call__(self, spent: float) -> float:
        """The factor of a step.

        Args:
            spent: The fraction of the budget (epochs, images or seconds) that is spent, 0 to 1.

        Returns:
            The factor on the learning rate, 0 or more.
        """


@runtime_checkable
class Reducing(Protocol):
    """A schedule that also reduces the rate when the score on validation classes stops improving.

    The training counts the epochs, and keeps the factor in its checkpoints.
    """

    @property
    def patience(self) -> int:
        """Epochs without a better score after which the rate is reduced, 1 or more."""

    def reduced(self, rate: float) -> float:
        """The new factor, which multiplies that of the call.

        Args:
            rate: The factor so far; 1 at first.

        Returns:
            The factor from the next epoch on, 0 to `rate`.
        """
