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
    hardest positive. The losses of the paper are `--loss triplet:margin=0,soft=1` and the hinge
    `--loss triplet:margin=0.2`.
    """

    # The hardest negative of a young network is nearer than the positive, so that a loss of plain
    # distances falls when all embeddings shrink onto one point: on photographs, training does
    # that first. Logarithms compare the ratio of the distances, which no shrinking changes.
    default_loss = "triplet:margin=0,soft=1,log=true"

    def __init__(self, labels: Tensor, *, classes: int | None = None, per_class: int = 2) -> None:
        self.miner = BatchHard()
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class)
        self.notes = self._batches.notes

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        return self._batches.epoch(rng)
