"""The sampler `multi-similarity`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge_standard.miners.multi_similarity import MultiSimilarity as Miner
from metricforge_standard.samplers._class_balanced import ClassBalanced


class MultiSimilarity:
    """P x K batches; pairs that are hard beside the others of their anchor (Wang 2019).

    `classes` is P (default: all, up to 32), `per_class` is K (default: 4), `epsilon` that of the
    miner of this name, which leaves the choice to the default loss: no pair is listed.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        epsilon: float = 0.1,
    ) -> None:
        self.miner = Miner(epsilon=epsilon)
        self.default_loss = f"multi-similarity:epsilon={epsilon}"
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class)
        self.notes = self._batches.notes

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        return self._batches.epoch(rng)
