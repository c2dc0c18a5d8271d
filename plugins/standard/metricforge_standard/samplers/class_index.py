"""Where each class of a train set lies: what every sampler here needs of the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metricforge.errors import DataError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ClassIndex:
    """Images sorted by class: class c is `order[start[c] : start[c] + size[c]]`.

    `order` is int64 [N], `start` and `size` are int64 [C], for the C classes that occur.
    """

    order: Indices
    start: Indices
    size: Indices

    @classmethod
    def of(cls, labels: Tensor) -> ClassIndex:
        """The index of labels [N]; DataError when nothing can be told apart."""
        values = labels.cpu().numpy()
        _, size = np.unique(values, return_counts=True)
        if len(size) < 2:
            raise DataError(f"the train set has {len(size)} class; comparing needs at least two.")
        order = np.argsort(values, kind="stable")
        return cls(order, np.cumsum(size) - size, size)

    def shuffled(self, rng: np.random.Generator) -> Indices:
        """`order` with the images of each class in random order, still sorted by class."""
        of_class = np.repeat(np.arange(len(self.size)), self.size)
        shuffle = rng.permutation(len(self.order))
        return self.order[shuffle[np.argsort(of_class[shuffle], kind="stable")]]

    def smaller_than(self, images: int) -> int:
        """How many classes have fewer images than this."""
        return int((self.size < images).sum())
