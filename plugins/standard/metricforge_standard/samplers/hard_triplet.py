"""The sampler `hard-triplet`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_standard.miners.paced_hard import PacedHard
from metricforge_standard.samplers._class_balanced import ClassBalanced


class HardTriplet:
    """P x K batches; for each anchor its farthest positive and nearest negative (Hermans 2017).

    `classes` is P (default: all, up to 32), `per_class` is K: the larger, the harder the
    hardest positive. `paced` takes semi-hard negatives (Schroff 2015) while most anchors of a
    batch have a negative that is no farther than their positive, see the miner `paced-hard`.
    The paper's own form is `hard-triplet:paced=false` with `--loss triplet:margin=0,soft=1` or
    the hinge `--loss triplet:margin=0.2`. Without a pace the loss is by default one of the ratio
    of distances, `triplet:margin=0,soft=1,log=true`.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int = 2,
        paced: bool = True,
    ) -> None:
        self.miner = PacedHard() if paced else BatchHard()
        # The hardest negative of a young network is nearer than the positive, so that a loss of
        # plain distances falls when everything shrinks: on photographs, training does that first.
        self.default_loss = "triplet" if paced else "triplet:margin=0,soft=1,log=true"
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class)
        self.notes = self._batches.notes

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        return self._batches.epoch(rng)
