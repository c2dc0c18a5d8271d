"""The sampler `random-pairs`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from metricforge.errors import UsageError
from metricforge_standard.miners._laid_out import LaidOutPairs
from metricforge_standard.samplers._class_index import SLAB, ClassIndex, Indices, have
from metricforge_standard.samplers._partners import Partners


class RandomPairs:
    """Every image once as an anchor, paired at random with one of its class or of another.

    An image that is alone in its class is only paired with negatives.

    Args:
        pairs: Pairs in a batch, of two images each, 1 or more.
        positive: Fraction of pairs of one class, 0 to 1.
    """

    default_loss = "contrastive"

    def __init__(self, labels: Tensor, *, pairs: int = 32, positive: float = 0.25) -> None:
        if pairs < 1 or not 0 <= positive <= 1:
            raise UsageError("random-pairs needs pairs >= 1 and positive between 0 and 1.")
        self.miner = LaidOutPairs()
        self.pairs, self.positive = pairs, positive
        self._index = ClassIndex.of(labels)
        self._partners = Partners(self._index)
        # Classes are sorted by size, so these have the first indices.
        self._single = single = self._index.smaller_than(2)
        self.notes = (f"{have(single)} one image: never a positive.",) if single else ()

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [2 * pairs], laid out as [a1, b1, a2, b2, ...]."""
        anchors = rng.permutation(len(self._index.order))
        rows = self.pairs * max(1, SLAB // self.pairs)
        for begin in range(0, len(anchors), rows):
            laid_out = self._laid_out(anchors[begin : begin + rows], rng)
            yield from torch.from_numpy(laid_out).split(2 * self.pairs)

    def _laid_out(self, anchor: Indices, rng: np.random.Generator) -> Indices:
        """The images of pairs, one after the other; anchors are indices into `index.order`."""
        same = (rng.random(len(anchor)) < self.positive) & (anchor >= self._single)
        other = self._partners.negatives(anchor, rng)
        other[same] = self._partners.positives(anchor[same], rng)
        return self._index.order[np.stack([anchor, other], axis=1).reshape(-1)]
