"""The sampler `all-triplets`."""

from __future__ import annotations

from metricforge_standard.miners.all_triplets import AllTriplets as Miner
from metricforge_standard.samplers._class_balanced import PKSampler


class AllTriplets(PKSampler):
    """P x K batches; every triplet of a batch, listed only for a loss that has no closed form.

    The losses `triplet` and `margin` have one.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
    """

    default_loss = "triplet"
    miner = Miner()
