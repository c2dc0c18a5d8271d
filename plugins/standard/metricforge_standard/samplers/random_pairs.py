"""The sampler `random-pairs`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from metricforge.errors import UsageError
from metricforge_standard.miners.laid_out import LaidOutPairs
from metricforge_standard.samplers.class_index import ClassIndex
from metricforge_standard.samplers.partners import Partners


class RandomPairs:
    """Every image once as an anchor, paired at random with one of its class or of another.

    `pairs` is the number of pairs a batch (two images each), `positive` the share of pairs of
    one class. An image that is alone in its class only ever gets a negative partner.
    """

    default_loss = "contrastive"

    def __init__(self, labels: Tensor, *, pairs: int = 64, positive: float = 0.5) -> None:
        if pairs < 1 or not 0 <= positive <= 1:
            raise UsageError("random-pairs needs pairs >= 1 and positive between 0 and 1.")
        self.miner = LaidOutPairs()
        self.pairs, self.positive = pairs, positive
        self._index = ClassIndex.of(labels)
        self._partners = Partners(self._index)
        single = self._index.smaller_than(2)
        self.notes = (f"{single} classes have one image: never a positive.",) if single else ()

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [2 * pairs], laid out as [a1, b1, a2, b2, ...]."""
        anchor = rng.permutation(len(self._index.order))
        alone = self._index.size[self._partners.of_class[anchor]] < 2
        same = (rng.random(len(anchor)) < self.positive) & ~alone
        other = self._partners.negatives(anchor, rng)
        other[same] = self._partners.positives(anchor[same], rng)
        laid_out = self._index.order[np.stack([anchor, other], axis=1)]
        for first in range(0, len(anchor), self.pairs):
            yield torch.from_numpy(laid_out[first : first + self.pairs].reshape(-1))
