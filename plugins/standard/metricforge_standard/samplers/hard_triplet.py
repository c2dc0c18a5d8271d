"""The sampler `hard-triplet`."""

from __future__ import annotations

from torch import Tensor

from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_standard.miners.paced_hard import PacedHard
from metricforge_standard.samplers._class_balanced import PKSampler


class HardTriplet(PKSampler):
    """P x K batches; for each anchor its farthest positive and nearest negative (Hermans 2017).

    The paper's own form is `hard-triplet:paced=false` with `--loss triplet:margin=0,soft=1`, or
    with the hinge, `--loss triplet:margin=0.2`. With paced=false the default loss compares the
    ratio of distances: `triplet:margin=0,soft=1,log=true`.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; the larger, the harder the
            hardest positive.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
        paced: Whether anchors take semi-hard negatives (Schroff 2015) while most anchors of a batch
            have a negative no farther than their positive; see the miner `paced-hard`.

    Reference: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
        Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering, 2015.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int = 2,
        cap: int | None = None,
        paced: bool = True,
    ) -> None:
        super().__init__(labels, classes=classes, per_class=per_class, cap=cap)
        self.miner = PacedHard() if paced else BatchHard()
        # The hardest negative of a young network is nearer than the positive, so that a loss of
        # plain distances falls when everything shrinks: on photographs, training does that first.
        self.default_loss = "triplet" if paced else "triplet:margin=0,soft=1,log=true"
