"""The contract of a sampler, and its optional members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from metricforge.contracts.miner import Miner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Sampler(Protocol):
    """Decides which images meet in a batch, and has the miner that suits.

    `epoch` may have a second parameter `number`, the number of the epoch, from 0.
    """

    @property
    def miner(self) -> Miner:
        """The miner of its batches, unless the user names another."""

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor] | Iterator[NDArray[np.int64]]:
        """The batches of an epoch.

        Args:
            rng: The only source of random numbers.

        Returns:
            Batches of int64 indices [B] into the train set; together they show every image.
        """


@runtime_checkable
class Scheduled(Protocol):
    """A sampler whose miner changes from step to step."""

    def miner_at(self, epoch: int, step: int) -> Miner:
        """The miner of a step.

        All are of the kind of `miner`, the first; the sampler saves their state. If the user names
        a miner, this is not called.

        Args:
            epoch: Number of the epoch, from 0.
            step: Number of the step in it, from 0.

        Returns:
            The miner of the step's batch.
        """


@runtime_checkable
class Refreshing(Protocol):
    """A sampler that uses the embeddings of the train set."""

    def refresh(self, embeddings: Tensor) -> None:
        """Take the embeddings of the train set; called between epochs.

        Args:
            embeddings: [N, D].
        """


@runtime_checkable
class Remembering(Protocol):
    """A sampler that compares the batch with further embeddings, e.g. earlier ones."""

    def remember(self, embeddings: Tensor, labels: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Further embeddings to compare a batch with.

        Called at each step, after the network. The miner and the loss see [B + M, D], and only
        tuples whose anchor is in the batch are kept. A loss that compares whole batches takes the M
        for further images of it.

        Args:
            embeddings: Of the batch, [B, D], without gradient.
            labels: int64 [B].
            images: int64 [B], as `epoch` yielded them.

        Returns:
            Embeddings [M, D] and their labels [M].
        """


@runtime_checkable
class SuggestingLoss(Protocol):
    """A sampler that suggests a loss to users who name none."""

    default_loss: str
    """The spec of the loss."""


@runtime_checkable
class Noting(Protocol):
    """A sampler that has notes on its train set."""

    notes: Sequence[str]
    """Sentences for the user."""
