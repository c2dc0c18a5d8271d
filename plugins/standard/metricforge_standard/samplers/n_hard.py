"""The sampler `n-hard`."""

from __future__ import annotations

from torch import Tensor

from metricforge_standard.miners.n_hard import NHard
from metricforge_standard.samplers._class_balanced import PKSampler


class NHardTriplet(PKSampler):
    """P x K batches; each anchor's farthest positives with each of its nearest negatives.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
        positives: Farthest positives of each anchor, 1 or more.
        negatives: Nearest negatives of each anchor, 1 or more.
    """

    default_loss = "triplet:margin=0,soft=1,log=true"

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        cap: int | None = None,
        positives: int = 2,
        negatives: int = 2,
    ) -> None:
        super().__init__(labels, classes=classes, per_class=per_class, cap=cap)
        self.miner = NHard(positives=positives, negatives=negatives)
