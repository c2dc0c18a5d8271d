"""Class-balanced batches, P classes x K images: the batches of every online miner."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from metricforge.errors import DataError, UsageError
from metricforge_standard.samplers.class_index import ClassIndex, Indices

USUAL_CLASSES = 32
USUAL_BATCH = 128


class ClassBalanced:
    """Batches of P classes with K images each; an epoch shows every image of the train set.

    `classes` (P) defaults to all classes up to 32, `per_class` (K) to what makes a batch of
    about 128 images, at least 4. The images of a class are shuffled and cut into chunks of K;
    a last chunk that is too short is topped up with other images of its class. A class of
    fewer than K images comes whole, so that no image meets itself in a batch. When one class
    has more than 1/P of all images, some batches hold it twice.
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
        order = self.index.shuffled(rng)
        of_class, start, length = self._chunks(rng)
        for chunks in _deal(of_class.tolist(), self.classes):
            parts = [order[start[c] : start[c] + length[c]] for c in chunks]
            yield torch.from_numpy(_without_repeats(np.concatenate(parts)))

    def _chunks(self, rng: np.random.Generator) -> tuple[Indices, Indices, Indices]:
        """Class, first place and length of each chunk, each class spread over the epoch."""
        size, per_class = self.index.size, self.per_class
        count = -(-size // per_class)
        of_class = np.repeat(np.arange(len(size)), count)
        rank = np.arange(len(of_class)) - np.repeat(np.cumsum(count) - count, count)
        # A short last chunk starts earlier: it is topped up with images of the chunk before.
        first = np.minimum(rank * per_class, np.maximum(size - per_class, 0)[of_class])
        length = np.minimum(per_class, size)[of_class]
        when = np.argsort((rank + rng.random(len(rank))) / count[of_class])
        return of_class[when], (self.index.start[of_class] + first)[when], length[when]


def _deal(of_class: list[int], classes: int) -> Iterator[list[int]]:
    """Group chunks into batches of `classes` distinct classes, in the order they come.

    A chunk whose class is in the batch already waits for the next one, so a class with more
    than its share can't pile up at the end of the epoch. While others come, one place of a
    batch is kept for them: a batch of one class would compare nothing.
    """
    coming = iter(range(len(of_class)))
    waiting: list[int] = []
    while True:
        taken = min(len(waiting), classes - 1)
        batch, waiting = waiting[:taken], waiting[taken:]
        present = {of_class[c] for c in batch}
        while len(batch) < classes:
            chunk = next(coming, None)
            if chunk is None:
                room = classes - len(batch)
                batch, waiting = batch + waiting[:room], waiting[room:]
                break
            if of_class[chunk] in present:
                waiting.append(chunk)
            else:
                batch.append(chunk)
                present.add(of_class[chunk])
        if not batch:
            return
        yield batch


def _without_repeats(batch: Indices) -> Indices:
    # Only a topped-up chunk beside another of its class repeats an image.
    _, first = np.unique(batch, return_index=True)
    return batch[np.sort(first)] if len(first) < len(batch) else batch
