"""What a miner is, and what it may have beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from metricforge.contracts.tuples import TupleKind, Tuples

if TYPE_CHECKING:
    from torch import Tensor


class Miner(Protocol):
    """Chooses the tuples of one batch, called without gradient.

    Pure, but for a state that it saves (:class:`Stateful`).

    `kind` is Pairs, Triplets or None; None says that the loss sees the whole batch. The call may
    take more, by name: `rng`, a numpy Generator that is a function of (seed, epoch, step), for a
    miner that draws, and draws from nothing else; and `margin`, that of the loss, or None where it
    has none. NaN embeddings must not make it raise: the core reports them.
    """

    @property
    def kind(self) -> TupleKind: ...

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tuples | None:
        """Embeddings [B, D] and labels [B] to tuples; none may be found, never a self-pair."""


@runtime_checkable
class LeavingChoice(Protocol):
    """A miner that leaves its choice to a loss that makes the same choice itself."""

    def left_to(self, loss: Any) -> Miner | None:
        """The miner of its kind to ask in its place for this loss, or None."""
