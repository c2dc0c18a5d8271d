"""The sampler `all-pairs`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge_standard.miners.all_pairs import AllPairs as Miner
from metricforge_standard.samplers._class_balanced import ClassBalanced


class AllPairs:
    """P x K batches; every pair of a batch, listed only for a loss that has no closed form.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        balanced: Whether to choose all positive pairs and as many negative pairs, drawn at random,
            instead of every pair.
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
