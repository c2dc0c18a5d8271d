"""The sampler `hard-triplet`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_standard.samplers.class_balanced import ClassBalanced


class HardTriplet:
    """P x K batches; for each anchor its farthest positive and nearest negative (Hermans 2017).

    `classes` is P (default: all, up to 32), `per_class` is K: the larger, the harder the
    hardest positive, and the sooner all embeddings fall onto one point.
    """

    # With a hinge, the hardest triplets of few or alike classes keep the loss at its margin.
    default_loss = "triplet:margin=0,soft=0.1"

    def __init__(self, labels: Tensor, *, classes: int | None = None, per_class: int = 2) -> None:
        self.miner = BatchHard()
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class)
        self.notes = self._batches.notes

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        return self._batches.epoch(rng)
