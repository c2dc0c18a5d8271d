"""Chunks: the images of one class that go into a batch together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metricforge_standard.samplers.class_index import SLAB, ClassIndex, Indices
from metricforge_standard.samplers.deal import NONE

ALL = slice(None)


@dataclass(frozen=True)
class Chunks:
    """Runs of up to K images of a class: chunk i is the `length[i]` images from place `first[i]`.

    Places are those of `ClassIndex.order`; `first` and `length` are [M], for all M chunks, sorted
    by class. Class c has the `count[c]` chunks from the number `begin[c]` on, both [C].
    """

    begin: Indices
    count: Indices
    first: Indices
    length: Indices

    @classmethod
    def of(cls, index: ClassIndex, per_class: int, batches: int | Indices) -> Chunks:
        """Every class cut into chunks of `per_class`, to be dealt to so many batches, or [C].

        A short last chunk is topped up with images of the one before. A class that a batch may
        hold twice, having more chunks than there are batches, is cut evenly instead: its last
        two chunks may meet, and no image must meet itself. A small class is one chunk.
        """
        count = index.chunks(per_class)
        begin = np.cumsum(count) - count
        of_class = np.repeat(np.arange(len(count)), count)
        rank = np.arange(len(of_class)) - begin[of_class]
        size, start = index.size[of_class], index.start[of_class]
        first = np.minimum(rank * per_class, np.maximum(size - per_class, 0))
        length = np.minimum(size, per_class)
        even = (count > batches)[of_class]
        cuts = size[even] * np.stack([rank[even], rank[even] + 1]) // count[of_class[even]]
        first[even], length[even] = cuts[0], cuts[1] - cuts[0]
        return cls(begin, count, start + first, length)

    def laid_out(self, order: Indices, dealt: Indices) -> Iterator[Tensor]:
        """The images of each batch, int64 [B], from `order` and the batches' chunks [b, P]."""
        rows = max(1, SLAB // int(self.length.max() * dealt.shape[1]))
        for begin in range(0, len(dealt), rows):
            slab = dealt[begin : begin + rows]
            there = slab != NONE
            sizes = np.where(there, self.length[slab], 0).sum(1)
            yield from torch.from_numpy(order[self.places(slab[there])]).split(sizes.tolist())

    def places(self, chunks: Indices | slice = ALL) -> Indices:
        """The places in `order` of the images of these chunks, one chunk behind the other."""
        length = self.length[chunks]
        # Each image's place: its chunk's first, and on from there.
        shift = self.first[chunks] - np.cumsum(length) + length
        return np.arange(length.sum()) + np.repeat(shift, length)

    @property
    def of_class(self) -> Indices:
        """The class of each chunk [M]."""
        return np.repeat(np.arange(len(self.count)), self.count)
