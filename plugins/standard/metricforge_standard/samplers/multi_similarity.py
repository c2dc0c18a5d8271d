"""The sampler `multi-similarity`."""

from __future__ import annotations

from torch import Tensor

from metricforge_standard.miners.multi_similarity import MultiSimilarity as Miner
from metricforge_standard.samplers._class_balanced import PKSampler


class MultiSimilarity(PKSampler):
    """P x K batches; pairs that are hard compared with the others of their anchor (Wang 2019).

    The miner `multi-similarity` leaves its choice to the default loss, so that no pair is listed.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
        epsilon: Slack of the comparison, a difference of cosines; larger chooses more pairs.

    Reference: Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric
        Learning, 2019.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        cap: int | None = None,
        epsilon: float = 0.1,
    ) -> None:
        super().__init__(labels, classes=classes, per_class=per_class, cap=cap)
        self.miner = Miner(epsilon=epsilon)
        self.default_loss = f"multi-similarity:epsilon={epsilon}"
