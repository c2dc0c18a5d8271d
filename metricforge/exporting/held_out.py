"""The images that an export is compared on, and those that int8 is calibrated on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.decode import read_whole
from metricforge.data.images import open_images
from metricforge.data.model_inputs import fit
from metricforge.errors import DataError
from metricforge.judging.held_out import Tested
from metricforge.model import EmbeddingModel
from metricforge.scoring.embed import reading_of

MOST_IMAGES, MOST_OF_CLASS = 2_000, 200
"""The most images that are compared, in all and of a class."""


@dataclass(frozen=True)
class Part:
    """Some images of a dataset, as a dataset, with the name of their part."""

    dataset: Dataset
    name: str

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.dataset.labels.unique())

    def pixels(self, model: EmbeddingModel) -> Iterator[Tensor]:
        """Batches as the model takes them, uint8 [B, C, H, W] or float32 [B, V]."""
        reading = reading_of(self.dataset, model)
        images = open_images(replace(self.dataset, reading=reading), memory_limit=0)
        for indices in torch.arange(len(self.dataset)).split(min(model.batch, 32)):
            batch = fit(images.take(indices), model.card.shape, model.card.reading)
            yield batch.float() if model.card.of_vectors else batch

    def whole_images(self, model: EmbeddingModel) -> Iterator[Tensor]:
        """Each image at its own size, uint8 [1, C, H, W], as its file has it."""
        channels, reading = model.card.shape[0], model.card.reading
        for image in self.dataset.images:
            if isinstance(image, Tensor):
                pixels = fit(image[None], (channels, *image.shape[1:]))
                # What lies in memory looks as inverted files do.
                yield 255 - pixels if reading.inverted else pixels
            else:
                yield read_whole(image, channels)[None]


def compared(tested: Tested) -> Part:
    """Up to MOST_IMAGES of the held-out images, of classes that are drawn.

    DataError for fewer than two classes, whose images can't be ranked.
    """
    labels = tested.dataset.labels[tested.indices].numpy()
    rng = np.random.default_rng(0)
    chosen: list[int] = []
    for label in rng.permutation(np.unique(labels)):
        own = tested.indices.numpy()[labels == label]
        own = np.sort(rng.permutation(own)[:MOST_OF_CLASS])
        if len(chosen) + len(own) <= MOST_IMAGES:
            chosen += own.tolist()
    part = _of(tested, torch.tensor(sorted(chosen)))
    if part.classes < 2:
        raise DataError(
            f"an export is compared on the rankings of images of two classes or more, and the "
            f"{tested.name} part of '{tested.dataset.name}' has {part.classes}: name another "
            "dataset (images)."
        )
    return part


def drawn(tested: Tested, count: int) -> Part:
    """As many images, drawn from the whole part."""
    every = tested.indices.numpy()
    chosen = np.random.default_rng(0).permutation(every)[:count]
    return _of(tested, torch.from_numpy(np.sort(chosen)))


def _of(tested: Tested, indices: Tensor) -> Part:
    whole = tested.decoded
    images = (
        whole.images[indices]
        if isinstance(whole.images, Tensor)
        else [whole.images[index] for index in indices.tolist()]
    )
    some = Dataset(
        name=whole.name,
        images=images,
        labels=whole.labels[indices],
        classes=whole.classes,
        shape=whole.shape,
        reading=whole.reading,
        advice=whole.advice,
    )
    return Part(some, tested.name)
