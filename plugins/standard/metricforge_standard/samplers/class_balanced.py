"""Class-balanced batches, P classes x K images: the batches of every online miner."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge.errors import DataError, UsageError
from metricforge_standard.samplers.chunks import Chunks
from metricforge_standard.samplers.class_index import ClassIndex, Indices
from metricforge_standard.samplers.deal import batches_of, deal

USUAL_CLASSES = 32
USUAL_BATCH = 128


class ClassBalanced:
    """Batches of P classes with K images each; an epoch shows every image of the train set.

    `classes` (P) defaults to all classes up to 32, `per_class` (K) to what makes a batch of
    about 128 images, at least 4. The images of a class are shuffled and cut into chunks of K;
    a last chunk that is too short is topped up with other images of its class. A class of
    fewer than K images comes whole, so that no image meets itself in a batch. All batches hold
    P chunks or one less, of different classes; only a class with more than 1/P of all chunks
    comes more than once a batch, evenly spread and not topped up.

    Memory: 16 bytes an image and 40 a chunk.
    """

    def __init__(self, labels: Tensor, *, classes: int | None, per_class: int | None) -> None:
        self.index = ClassIndex.of(labels)
        there = len(self.index.size)
        if (classes is not None and classes < 2) or (per_class is not None and per_class < 2):
            raise UsageError("class-balanced batches need classes >= 2 and per_class >= 2.")
        self.classes = min(there, USUAL_CLASSES) if classes is None else classes
        self.per_class = max(4, USUAL_BATCH // self.classes) if per_class is None else per_class
        if self.classes > there:
            raise DataError(
                f"the sampler asks for {self.classes} classes a batch and the train set has "
                f"{there}; set classes={there} or less."
            )
        chunks = int(self.index.chunks(self.per_class).sum())
        self.chunks = Chunks.of(self.index, self.per_class, batches_of(chunks, self.classes))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of this train set: classes too small to fill their share."""
        single, small = self.index.smaller_than(2), self.index.smaller_than(self.per_class)
        notes = []
        if single:
            notes.append(f"{single} classes have one image: they serve as negatives only.")
        if small > single:
            notes.append(
                f"{small - single} classes have fewer than per_class={self.per_class} images: "
                "they come whole."
            )
        return tuple(notes)

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [<= P * K]; a function of `rng` alone."""
        yield from self.chunks.laid_out(*self.deal(rng))

    def deal(self, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """The images in a new order [N], and the chunks of it that make each batch [b, P]."""
        order, chunks = self.index.shuffled(rng), self.chunks
        return order, deal(chunks.begin, chunks.count, self.classes, rng)
