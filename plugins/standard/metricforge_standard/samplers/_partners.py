"""Random partners for anchors: another image of the same class, or one of another class."""

from __future__ import annotations

import numpy as np

from metricforge_standard.samplers._class_index import ClassIndex, Indices


class Partners:
    """Draws a partner for anchors, positions in `index.order`, uniformly and in O(1) each."""

    def __init__(self, index: ClassIndex) -> None:
        self.index = index
        self.of_class = np.repeat(np.arange(len(index.size)), index.size)

    def positives(self, anchor: Indices, rng: np.random.Generator) -> Indices:
        """Positions [M] of other images of the anchors' classes, which must have two or more."""
        start, size = self._block(anchor)
        # A step of 1 .. size - 1 round the class never comes back to the anchor.
        step = 1 + rng.integers(0, size - 1)
        further: Indices = np.remainder(anchor - start + step, size)
        return start + further

    def negatives(self, anchor: Indices, rng: np.random.Generator) -> Indices:
        """Positions [M] of images of other classes than the anchors'."""
        start, size = self._block(anchor)
        draw = rng.integers(0, len(self.of_class) - size)
        return draw + size * (draw >= start)

    def _block(self, anchor: Indices) -> tuple[Indices, Indices]:
        of_class = self.of_class[anchor]
        return self.index.start[of_class], self.index.size[of_class]
