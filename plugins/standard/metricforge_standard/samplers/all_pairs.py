"""The sampler `all-pairs`."""

from __future__ import annotations

from torch import Tensor

from metricforge_standard.miners.all_pairs import AllPairs as Miner
from metricforge_standard.samplers._class_balanced import PKSampler


class AllPairs(PKSampler):
    """P x K batches; every pair of a batch, listed only for a loss that has no closed form.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
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
        cap: int | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__(labels, classes=classes, per_class=per_class, cap=cap)
        self.miner = Miner(balanced=balanced)
