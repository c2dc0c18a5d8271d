"""Chunks: the images of one class that go into a batch together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metricforge_standard.samplers._class_index import SLAB, ClassIndex, Indices
from metricforge_standard.samplers._deal import NONE


@dataclass(frozen=True)
class Chunks:
    """All images in runs of one class: chunk i is the `length[i]` images from position `first[i]`.

    Positions are those in `ClassIndex.order`; `first` and `length` are [M], for all M chunks in
    order. Class c has the `count[c]` chunks from the number `begin[c]` on, both [C].
    """

    begin: Indices
    count: Indices
    first: Indices
    length: Indices

    @classmethod
    def of(cls, index: ClassIndex, shown: Indices, per_class: int, least: int) -> Chunks:
        """The first `shown` [C] of every class cut evenly, into the fewest chunks of `per_class`.

        No chunk has fewer than `least`, unless its class has fewer: then chunks may exceed
        `per_class`.
        """
        fewest = -(-shown // per_class)
        count = np.minimum(fewest, np.maximum(shown // least, 1))
        begin = np.cumsum(count) - count
        of_class = np.repeat(np.arange(len(count)), count)
        rank = np.arange(len(of_class)) - begin[of_class]
        cuts = (
            index.start[of_class] + (rank + i) * shown[of_class] // count[of_class] for i in (0, 1)
        )
        first, end = cuts
        return cls(begin, count, first, end - first)

    def laid_out(self, order: Indices, dealt: Indices) -> Iterator[Tensor]:
        """The images of each batch, int64 [B], from `order` and the batches' chunks [b, P]."""
        rows = max(1, SLAB // int(self.length.max() * dealt.shape[1]))
        for begin in range(0, len(dealt), rows):
            slab = dealt[begin : begin + rows]
            filled = slab != NONE
            sizes = np.where(filled, self.length[slab], 0).sum(1)
            yield from torch.from_numpy(order[self.positions(slab[filled])]).split(sizes.tolist())

    def positions(self, chunks: Indices) -> Indices:
        """The positions in `order` of the images of these chunks, one chunk after the other."""
        length = self.length[chunks]
        # An image's position is its chunk's first plus its rank in the chunk.
        shift = self.first[chunks] - np.cumsum(length) + length
        return np.arange(length.sum()) + np.repeat(shift, length)

    @property
    def of_class(self) -> Indices:
        """The class of each chunk [M]."""
        return np.repeat(np.arange(len(self.count)), self.count)
