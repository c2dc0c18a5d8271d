"""Class-balanced batches, P classes x K images: the batches of every online miner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from metricforge.errors import DataError, UsageError
from metricforge_standard.samplers._chunks import Chunks
from metricforge_standard.samplers._class_index import ClassIndex, Indices, have
from metricforge_standard.samplers._deal import batches_of, deal

USUAL_CLASSES = 32
USUAL_BATCH = 128


class ClassBalanced:
    """Batches of P classes with K images each; an epoch shows every image exactly once.

    `classes` (P) defaults to all classes up to 32, `per_class` (K) to what makes a batch of
    about 128 images, at least 4. The images of a class are shuffled and cut evenly into chunks
    of up to K, so that 17 images at K = 16 come as 8 and 9. No chunk has fewer than `least`
    images, but of a class that has fewer itself: with K = 2 and an odd number, one has three.
    All batches hold P chunks or one less, of different classes; only a class with more than 1/P
    of all chunks comes more than once a batch, evenly spread. With `cap` an epoch shows at most so
    many images of each class, drawn anew in each.

    Memory: 16 bytes an image and 40 a chunk.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None,
        per_class: int | None,
        least: int = 2,
        cap: int | None = None,
    ) -> None:
        self.index = ClassIndex.of(labels)
        available = len(self.index.size)
        for name, value in (("classes", classes), ("per_class", per_class), ("cap", cap)):
            if value is not None and value < 2:
                raise UsageError(f"class-balanced batches need {name} >= 2, not {name}={value}.")
        self.classes = min(available, USUAL_CLASSES) if classes is None else classes
        self.per_class = max(4, USUAL_BATCH // self.classes) if per_class is None else per_class
        if self.classes > available:
            raise DataError(
                f"the sampler needs {self.classes} classes a batch and the train set has "
                f"{available}; set classes={available} or less."
            )
        self.shown = self.index.size if cap is None else np.minimum(self.index.size, cap)
        self.chunks = Chunks.of(self.index, self.shown, self.per_class, least)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on classes of this train set that are too small or too large."""
        every = np.arange(len(self.index.size))
        return (*self.small(), *self.crowded(), *self.lonely([every]))

    def small(self) -> tuple[str, ...]:
        """A note for each kind of classes that are too small to fill their share."""
        single, small = self.index.smaller_than(2), self.index.smaller_than(self.per_class)
        notes = []
        if single:
            notes.append(f"{have(single)} one image: negatives only.")
        if small > single:
            notes.append(
                f"{have(small - single)} fewer than per_class={self.per_class} images, which "
                "all come at once."
            )
        return tuple(notes)

    def crowded(self) -> tuple[str, ...]:
        """A note on classes that come more than once a batch, as they have too many images."""
        batches = batches_of(int(self.chunks.count.sum()), self.classes)
        crowded = self.chunks.count > batches
        if not crowded.any():
            return ()
        most = -(-int(self.chunks.count.max()) // batches)
        images = most * -(-int(self.shown.max()) // int(self.chunks.count.max()))
        usual = int(np.median(self.shown))
        return (
            f"{have(int(crowded.sum()))} more than 1/{self.classes} of the images, and up to "
            f"{images} a batch instead of per_class={self.per_class}; the option "
            f"cap={max(usual, self.per_class)} shows as many of every class in each epoch.",
        )

    def lonely(self, sets: Sequence[Indices]) -> tuple[str, ...]:
        """A note on batches that hold one class alone, where the classes [c] of each set meet."""
        lonely = total = share = 0
        for classes in sets:
            count, size = self.chunks.count[classes], self.shown[classes]
            batches = batches_of(int(count.sum()), self.classes)
            other_chunks = int(count.sum() - count.max())
            total += batches
            if other_chunks < batches:
                lonely += batches - other_chunks
                share = max(share, int(100 * size.max() // size.sum()))
        if not lonely:
            return ()
        return (
            f"At least {lonely} of {total} batches hold one class alone, as it has {share} % of "
            "the images that may meet: they have no negatives.",
        )

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K]; a function of `rng` alone."""
        yield from self.chunks.laid_out(*self.deal(rng))

    def deal(self, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """The images in a new order [N], and the chunks of it that make each batch [b, P]."""
        order, chunks = self.index.shuffled(rng), self.chunks
        return order, deal(chunks.begin, chunks.count, self.classes, rng)


class PKSampler:
    """P x K batches for a miner: the base of samplers that differ in miner and default loss.

    Args:
        labels: int64 [N], the classes of the train set.
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
    """

    miner: Any  # of any call: one that draws takes `rng`

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        cap: int | None = None,
    ) -> None:
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class, cap=cap)
        self.notes = self._batches.notes

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        return self._batches.epoch(rng)
