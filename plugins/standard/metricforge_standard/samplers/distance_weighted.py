"""The sampler `distance-weighted`."""

from __future__ import annotations

from torch import Tensor

from metricforge_standard.miners.distance_weighted import DistanceWeighted as Miner
from metricforge_standard.samplers._class_balanced import PKSampler


class DistanceWeighted(PKSampler):
    """P x K batches; negatives drawn so that all distances are equally likely (Wu 2017).

    The miner is `distance-weighted`, which scales embeddings to unit length.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
        nearest: Smallest distance in the weights, above 0; a nearer negative counts as this far.
        farthest: Distance beyond which no negative is drawn, above `nearest` and at most 2.

    Reference: Wu et al., Sampling Matters in Deep Embedding Learning, 2017.
    """

    default_loss = "margin"

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        cap: int | None = None,
        nearest: float = 0.5,
        farthest: float = 1.4,
    ) -> None:
        super().__init__(labels, classes=classes, per_class=per_class, cap=cap)
        self.miner = Miner(nearest=nearest, farthest=farthest)
