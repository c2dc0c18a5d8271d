"""The contract of a miner, and its optional members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from metricforge.contracts.tuples import TupleKind, Tuples

if TYPE_CHECKING:
    from torch import Tensor


class Miner(Protocol):
    """Chooses the tuples of one batch, called without gradient.

    Pure, except for a state that it saves (:class:`Stateful`). NaN embeddings must not make it
    raise: the core reports them.

    The call may take more, by name: `rng`, a numpy Generator that is a function of (seed, epoch,
    step) and the only source of random numbers, and `margin`, that of the loss, or None if it has
    none.
    """

    @property
    def kind(self) -> TupleKind:
        """Pairs, Triplets, or None if the loss compares the whole batch."""

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tuples | None:
        """Choose the tuples of a batch.

        Args:
            embeddings: [B, D], without gradient.
            labels: int64 [B].

        Returns:
            Tuples of the kind `kind`, maybe empty, without self-pairs.
        """


@runtime_checkable
class LeavingChoice(Protocol):
    """A miner that leaves its choice to a loss that makes the same choice itself."""

    def left_to(self, loss: Any) -> Miner | None:
        """The miner to use in its place with a loss.

        Args:
            loss: The loss of the training.

        Returns:
            A miner of the same kind, or None: this miner chooses.
        """
