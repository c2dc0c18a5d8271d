"""The sampler `easy-positive`."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from metricforge_standard.miners.easy_positive import EasyPositive as Miner
from metricforge_standard.samplers._class_balanced import PKSampler


class EasyPositive(PKSampler):
    """P x K batches; each anchor's nearest positive with a semi-hard negative (Xuan 2020).

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
        negative: Negative of a triplet: "semihard" is the nearest beyond the positive, "hard" the
            nearest.

    Reference: Xuan et al., Improved Embeddings with Easy Positive Triplet Mining, 2020.
    """

    default_loss = "triplet"

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        cap: int | None = None,
        negative: Literal["semihard", "hard"] = "semihard",
    ) -> None:
        super().__init__(labels, classes=classes, per_class=per_class, cap=cap)
        self.miner = Miner(negative=negative)
