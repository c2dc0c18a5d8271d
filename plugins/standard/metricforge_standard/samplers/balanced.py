"""The sampler `balanced`."""

from __future__ import annotations

from torch import Tensor

from metricforge_standard.miners.whole_batch import WholeBatch
from metricforge_standard.samplers._class_balanced import PKSampler


class Balanced(PKSampler):
    """P x K batches for losses that compare all with all: no miner chooses tuples.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more. Default: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
    """

    default_loss = "supcon"

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = None,
        cap: int | None = None,
    ) -> None:
        super().__init__(labels, classes=classes, per_class=per_class, cap=cap)
        self.miner = WholeBatch()
