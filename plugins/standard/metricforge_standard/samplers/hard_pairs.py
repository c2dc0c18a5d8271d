"""The sampler `hard-pairs`."""

from __future__ import annotations

from metricforge_standard.miners.hard_pairs import HardPairs as Miner
from metricforge_standard.samplers._class_balanced import PKSampler


class HardPairs(PKSampler):
    """P x K batches; all positive pairs, and as many of the nearest negative pairs.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
    """

    default_loss = "contrastive"
    miner = Miner()
