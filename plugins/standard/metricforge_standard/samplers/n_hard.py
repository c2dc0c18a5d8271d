"""The sampler `n-hard`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge_standard.miners.n_hard import NHard
from metricforge_standard.samplers._class_balanced import ClassBalanced


class NHardTriplet:
    """P x K batches; each anchor's farthest positives with each of its nearest negatives.

    `classes` is P (default: all, up to 32), `per_class` is K (default: 4). `positives` and
    `negatives` say how many of each.
    """

    default_loss = "triplet:margin=0,soft=1,log=true"

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        positives: int = 2,
        negatives: int = 2,
    ) -> None:
        self.miner = NHard(positives=positives, negatives=negatives)
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class)
        self.notes = self._batches.notes

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        return self._batches.epoch(rng)
