"""The contract of a loss, and its optional members."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from metricforge.contracts.tuples import TupleKind, Tuples

if TYPE_CHECKING:
    from torch import Tensor


class Counted(NamedTuple):
    """A loss with the number of tuples that contribute to it.

    Args:
        value: The scalar, with a graph.
        active: How many of the tuples contribute to the value (of a smooth loss: violate the
            margin), an int or a 0-d tensor, which spares a GPU the wait.
    """

    value: Tensor
    active: int | Tensor


class Loss(Protocol):
    """Scores the tuples of a batch; an `nn.Module` if it learns.

    Without tuples it is zero, with a graph.
    """

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Tensor:
        """Score the tuples of a batch.

        Args:
            embeddings: [B, D], with a graph.
            labels: int64 [B].
            tuples: The tuples that the miner chose; None: the whole batch.

        Returns:
            A scalar with a graph.
        """


@runtime_checkable
class Accepting(Protocol):
    """A loss that does not take every kind of tuples."""

    accepts: tuple[TupleKind, ...]
    """The kinds that it takes; None is the whole batch."""


@runtime_checkable
class Counting(Protocol):
    """A loss that counts the tuples that contribute to it; their fraction is logged."""

    def counted(self, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Counted:
        """Score and count; called in place of the loss in training.

        Args:
            embeddings: [B, D], with a graph.
            labels: int64 [B].
            tuples: The tuples that the miner chose; None: the whole batch.

        Returns:
            The value that the call returns, and the count.
        """


@runtime_checkable
class WithMargin(Protocol):
    """A loss with a margin, which the core passes to miners that take one."""

    margin: float | None


@runtime_checkable
class Predicting(Protocol):
    """A loss that learns a classifier, whose accuracy on validation images is logged."""

    def predict(self, embeddings: Tensor) -> Tensor:
        """Classify embeddings.

        Args:
            embeddings: [B, D].

        Returns:
            The class 0 .. num_classes - 1 of each, int64 [B].
        """
