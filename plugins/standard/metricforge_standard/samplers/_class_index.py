"""The images of a train set sorted by class, for all samplers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metricforge.errors import DataError

Indices = NDArray[np.int64]

SLAB = 1 << 16
"""Images that are laid out at a time: they take little memory and fit the cache."""


def have(classes: int) -> str:
    """The beginning of a note on so many classes."""
    return "1 class has" if classes == 1 else f"{classes:,} classes have"


@dataclass(frozen=True)
class ClassIndex:
    """Images sorted by class: class c is `order[start[c] : start[c] + size[c]]`.

    `order` is int64 [N], `start` and `size` are int64 [C], for the C classes that occur, which
    are numbered by size: those of one size lie together, as the rows of a block.
    """

    order: Indices
    start: Indices
    size: Indices

    @classmethod
    def of(cls, labels: Tensor) -> ClassIndex:
        """The index of labels [N]; DataError if there is one class only."""
        values, size = np.unique(labels.cpu().numpy(), return_counts=True)
        if len(size) < 2:
            raise DataError(f"the train set has {len(size)} class; comparing needs at least two.")
        by_size = np.argsort(size, kind="stable")
        number = np.empty_like(by_size)
        number[by_size] = np.arange(len(size))
        of_image = number[np.searchsorted(values, labels.cpu().numpy())]
        size = size[by_size]
        return cls(np.argsort(of_image, kind="stable"), np.cumsum(size) - size, size)

    def shuffled(self, rng: np.random.Generator) -> Indices:
        """`order` with the images of each class in random order, still sorted by class."""
        order = self.order.copy()
        # There are at most sqrt(2 N) sizes, so these are few calls, each within the cache.
        sizes, first, classes = np.unique(self.size, return_index=True, return_counts=True)
        for size, begin, rows in zip(sizes, self.start[first], classes, strict=True):
            block = order[begin : begin + size * rows].reshape(rows, size)
            rng.permuted(block, axis=1, out=block)
        return order

    def smaller_than(self, images: int) -> int:
        """How many classes have fewer images than this."""
        return int((self.size < images).sum())
