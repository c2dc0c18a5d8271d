"""The sampler `all-pairs`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge_standard.miners.all_pairs import AllPairs as Miner
from metricforge_standard.samplers._class_balanced import ClassBalanced


class AllPairs:
    """P x K batches; every pair of a batch, none of them listed where the loss can do without.

    `classes` is P (default: all, up to 32), `per_class` is K (default: 4). With `balanced` all
    positive pairs, and as many of the negative ones, drawn at random.
    """

    default_loss = "contrastive"

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        balanced: bool = False,
    ) -> None:
        self.miner = Miner(balanced=balanced)
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class)
        self.notes = self._batches.notes

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        return self._batches.epoch(rng)
