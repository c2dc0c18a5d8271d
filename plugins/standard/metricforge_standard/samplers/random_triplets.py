"""The sampler `random-triplets`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from metricforge.errors import DataError, UsageError
from metricforge_standard.miners.laid_out import LaidOutTriplets
from metricforge_standard.samplers.class_index import ClassIndex
from metricforge_standard.samplers.partners import Partners


class RandomTriplets:
    """Every image once as an anchor, with a random image of its class and one of another.

    `triplets` is their number a batch (three images each). An image that is alone in its class
    is no anchor; it is shown as the negative of one instead.
    """

    default_loss = "triplet"

    def __init__(self, labels: Tensor, *, triplets: int = 42) -> None:
        if triplets < 1:
            raise UsageError("random-triplets needs triplets >= 1.")
        self.miner = LaidOutTriplets()
        self.triplets = triplets
        self._index = ClassIndex.of(labels)
        self._partners = Partners(self._index)
        single = self._index.smaller_than(2)
        if single == len(self._index.size):
            raise DataError("every class of the train set has one image: there are no triplets.")
        self.notes = (f"{single} classes have one image: negatives only.",) if single else ()

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [3 * triplets], laid out as [a1, p1, n1, a2, p2, n2, ...]."""
        place = rng.permutation(len(self._index.order))
        alone = self._index.size[self._partners.of_class[place]] < 2
        anchor, lone = place[~alone], place[alone]
        # Where lone images outnumber the anchors, anchors come again until each was shown.
        anchor = np.resize(anchor, max(len(anchor), len(lone)))
        positive = self._partners.positives(anchor, rng)
        negative = self._partners.negatives(anchor, rng)
        negative[: len(lone)] = lone
        laid_out = self._index.order[np.stack([anchor, positive, negative], axis=1)]
        for rows in np.split(laid_out, range(self.triplets, len(laid_out), self.triplets)):
            yield torch.from_numpy(rows.reshape(-1))
