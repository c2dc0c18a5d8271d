"""Forward and backward passes for a batch larger than memory, or divided among several ranks.

The loss takes the embeddings of the whole batch as if they were its parameters. Their gradient is
then propagated through the network chunk by chunk, by the rank that embedded each: exactly the
gradient of the whole batch, with the memory of one chunk (Gao 2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from metricforge.errors import UsageError
from metricforge.runtime import Runtime, seed_torch
from metricforge.runtime.normalization import untracked
from metricforge.training.setup import TrainingSetup, TrainState


@dataclass(frozen=True)
class Part:
    """A batch [B] of indices into the train set, and the images of this rank's part, in chunks."""

    batch: Tensor
    chunks: Sequence[Tensor]


def chunks_of(batch: Tensor, runtime: Runtime) -> list[Tensor]:
    """This rank's part of a batch [B], in as many chunks as every other rank has."""
    most = -(-len(batch) // runtime.ranks.count)
    count = -(-most // (runtime.chunk or max(most, 1)))
    return list(batch[runtime.ranks.share(len(batch))].tensor_split(max(count, 1)))


class Passes:
    """Forward for all images of a batch, and backward with the gradient of their embeddings."""

    def __init__(
        self, setup: TrainingSetup, part: Part, number: int, state: TrainState, runtime: Runtime
    ) -> None:
        self._task, self._part, self._runtime = setup, part, runtime
        self._epoch = state.epoch
        # By rank and chunk: two chunks must not drop the same neurons.
        self._seed_key = (state.epoch, state.step, number, runtime.ranks.rank)
        self._with_graph: Tensor | None = None

    def forward(self) -> Tensor:
        """Embeddings [B, D] of all ranks, a leaf on which a loss can accumulate its gradient."""
        if len(self._part.chunks) == 1:
            mine = self._with_graph = next(self._embedded())
        else:
            with torch.no_grad(), untracked(self._task.model):
                mine = torch.cat(list(self._embedded()))
        whole = self._runtime.ranks.gathered(mine.detach(), len(self._part.batch))
        return whole.requires_grad_()

    def backward(self, gradient: Tensor) -> None:
        """Propagate the gradient [B, D] of this rank's embeddings to the parameters."""
        mine = gradient[self._runtime.ranks.share(len(gradient))]
        if self._with_graph is not None:
            _back(self._with_graph, mine)
            return
        sizes = [len(chunk) for chunk in self._part.chunks]
        for embeddings, rows in zip(self._embedded(), mine.split(sizes), strict=True):
            _back(embeddings, rows)

    def _embedded(self) -> Iterator[Tensor]:
        indices = chunks_of(self._task.train[self._part.batch], self._runtime)
        for number, (images, of) in enumerate(zip(self._part.chunks, indices, strict=True)):
            seed_torch(self._task.seed, *self._seed_key, number)
            shown = network_input(self._task, images, of, self._epoch, self._runtime)
            with _telling_of_one_image(len(shown)), self._runtime.autocast():
                embeddings: Tensor = self._task.model(shown)
            yield embeddings


@contextmanager
def _telling_of_one_image(images: int) -> Iterator[None]:
    """UsageError where batch norm is given one value of each channel."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            f"batch norm needs more than {images} image at a time where a map is 1 x 1 pixels: "
            "train with a --chunk of 2 or more, larger images, or --batch-norm frozen."
        ) from error


def network_input(
    setup: TrainingSetup, images: Tensor, indices: Tensor, epoch: int, runtime: Runtime
) -> Tensor:
    """Images [B, C, H, W] as the network gets them in an epoch: on the device, augmented."""
    shown = runtime.prepare(images)
    if setup.augment is None:
        return shown
    return runtime.prepare(setup.augment(shown, epoch, indices))


def _back(embeddings: Tensor, gradient: Tensor) -> None:
    # A network whose weights are all frozen has no gradient.
    if embeddings.requires_grad:
        embeddings.backward(gradient)
