"""What a loss is, and what it may have beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from metricforge.contracts.tuples import TupleKind, Tuples

if TYPE_CHECKING:
    from torch import Tensor


class Counted(NamedTuple):
    """A loss with the number of tuples that have a share in it.

    Args:
        value: The scalar, with a graph.
        active: How many of the tuples have a share in the value (of a smooth loss: violate the
            margin), an int or a 0-d tensor, which spares a GPU the wait.
    """

    value: Tensor
    active: int | Tensor


class Loss(Protocol):
    """Scores the tuples of a batch; an `nn.Module` when it learns.

    Without tuples it is zero, with a graph.
    """

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Tensor:
        """Embeddings [B, D], labels [B] and what the miner chose, to a scalar with a graph."""


@runtime_checkable
class Accepting(Protocol):
    """A loss that does not take every kind of tuples."""

    accepts: tuple[TupleKind, ...]
    """Those that it takes."""


@runtime_checkable
class Counting(Protocol):
    """A loss that counts the tuples that have a share in it; their fraction is logged."""

    def counted(self, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Counted:
        """What the call gives, and the count; called in the place of it while training."""


@runtime_checkable
class WithMargin(Protocol):
    """A loss with a margin, which is handed to miners that take one."""

    margin: float | None


@runtime_checkable
class Predicting(Protocol):
    """A loss that learns a classifier, whose accuracy on validation images is logged."""

    def predict(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] to the class 0 .. num_classes - 1 of each, int64 [B]."""
