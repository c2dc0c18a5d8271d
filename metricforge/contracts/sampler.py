"""What a sampler is, and what it may have beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from metricforge.contracts.miner import Miner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Sampler(Protocol):
    """Decides which images meet in a batch, and brings the miner that suits.

    `epoch` may take a second argument by the name `number`, that of the epoch, from 0.
    """

    @property
    def miner(self) -> Miner: ...

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor] | Iterator[NDArray[np.int64]]:
        """Batches of int64 indices [B] into the train set; together they show every image."""


@runtime_checkable
class Scheduled(Protocol):
    """A sampler whose miner changes from step to step."""

    def miner_at(self, epoch: int, step: int) -> Miner:
        """The miner of a step, both from 0.

        All are of the kind of `miner`, the first; what they save, the sampler saves. Where the
        user names a miner, this is not called.
        """


@runtime_checkable
class Refreshing(Protocol):
    """A sampler that looks at the embeddings of the train set."""

    def refresh(self, embeddings: Tensor) -> None:
        """Called between epochs with the embeddings [N, D] of the train set."""


@runtime_checkable
class Remembering(Protocol):
    """A sampler that has the batch compared with further embeddings, such as earlier ones."""

    def remember(self, embeddings: Tensor, labels: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Further embeddings [M, D] and labels [M] to compare a batch with.

        Called at each step, after the network, with the batch's embeddings [B, D] without
        gradient, its labels [B], and its images [B] as `epoch` gave them. The miner and the loss
        see [B + M, D], and only tuples whose anchor is in the batch are kept. A loss that sees
        whole batches takes the M for further images of it.
        """


@runtime_checkable
class SuggestingLoss(Protocol):
    """A sampler that suggests a loss to users who name none."""

    default_loss: str
    """The spec of the loss."""


@runtime_checkable
class Noting(Protocol):
    """A sampler that has something to say of its train set."""

    notes: Sequence[str]
    """Sentences that the user should know."""
