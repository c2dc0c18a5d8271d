"""The sampler `distance-weighted`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge_standard.miners.distance_weighted import DistanceWeighted as Miner
from metricforge_standard.samplers._class_balanced import ClassBalanced


class DistanceWeighted:
    """P x K batches; negatives drawn so that all distances are as likely (Wu 2017).

    `classes` is P (default: all, up to 32), `per_class` is K (default: 4). Distances under
    `nearest` count as `nearest`; negatives beyond `farthest` are not drawn.
    """

    default_loss = "margin"

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        nearest: float = 0.5,
        farthest: float = 1.4,
    ) -> None:
        self.miner = Miner(nearest=nearest, farthest=farthest)
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class)
        self.notes = self._batches.notes

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        return self._batches.epoch(rng)
