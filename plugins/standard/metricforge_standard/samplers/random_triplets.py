"""The sampler `random-triplets`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from metricforge.errors import DataError, UsageError
from metricforge_standard.miners._laid_out import LaidOutTriplets
from metricforge_standard.samplers._class_index import SLAB, ClassIndex, Indices, have
from metricforge_standard.samplers._partners import Partners


class RandomTriplets:
    """Every image once as an anchor, with a random image of its class and one of another.

    An image that is alone in its class is never an anchor; it is shown as a negative instead.

    Args:
        triplets: Triplets in a batch, of three images each, 1 or more.
    """

    default_loss = "triplet"

    def __init__(self, labels: Tensor, *, triplets: int = 42) -> None:
        if triplets < 1:
            raise UsageError("random-triplets needs triplets >= 1.")
        self.miner = LaidOutTriplets()
        self.triplets = triplets
        self._index = ClassIndex.of(labels)
        self._partners = Partners(self._index)
        self._single = single = self._index.smaller_than(2)
        if single == len(self._index.size):
            raise DataError("every class of the train set has one image: there are no triplets.")
        self.notes = (f"{have(single)} one image: negatives only.",) if single else ()

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [3 * triplets], laid out as [a1, p1, n1, a2, p2, n2, ...]."""
        positions = rng.permutation(len(self._index.order))
        # Classes are sorted by size, so lone images have the first indices.
        lone = positions[positions < self._single]
        # If they outnumber the anchors, anchors are repeated until each lone image was shown.
        anchors = positions if len(lone) == 0 else positions[positions >= self._single]
        anchors = np.resize(anchors, max(len(anchors), len(lone)))
        rows = self.triplets * max(1, SLAB // self.triplets)
        for begin in range(0, len(anchors), rows):
            some = slice(begin, begin + rows)
            laid_out = self._laid_out(anchors[some], lone[some], rng)
            yield from torch.from_numpy(laid_out).split(3 * self.triplets)

    def _laid_out(self, anchor: Indices, lone: Indices, rng: np.random.Generator) -> Indices:
        """The images of triplets, one after the other; the first negatives are the lone images."""
        positive = self._partners.positives(anchor, rng)
        negative = self._partners.negatives(anchor, rng)
        negative[: len(lone)] = lone
        positions = np.stack([anchor, positive, negative], axis=1)
        return self._index.order[positions.reshape(-1)]
