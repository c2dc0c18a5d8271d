"""The sampler `hard-pairs`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge_standard.miners.hard_pairs import HardPairs as Miner
from metricforge_standard.samplers._class_balanced import ClassBalanced


class HardPairs:
    """P x K batches; all positive pairs, and as many of the nearest negative pairs.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
    """

    default_loss = "contrastive"

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
    ) -> None:
        self.miner = Miner()
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class)
        self.notes = self._batches.notes

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        return self._batches.epoch(rng)
