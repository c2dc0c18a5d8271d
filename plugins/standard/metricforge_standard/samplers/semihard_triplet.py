"""The sampler `semihard-triplet`."""

from __future__ import annotations

from metricforge_standard.miners.semihard import SemiHard
from metricforge_standard.samplers._class_balanced import PKSampler


class SemiHardTriplet(PKSampler):
    """P x K batches; for each positive pair the nearest negative beyond it (Schroff 2015).

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.

    Reference: Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering,
        2015.
    """

    default_loss = "triplet"
    miner = SemiHard()
