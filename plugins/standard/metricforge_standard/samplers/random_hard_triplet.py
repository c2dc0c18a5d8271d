"""The sampler `random-hard-triplet`."""

from __future__ import annotations

from torch import Tensor

from metricforge.errors import UsageError
from metricforge_standard.miners.random_hard import RandomHard
from metricforge_standard.samplers._class_balanced import PKSampler


class RandomHardTriplet(PKSampler):
    """P x K batches; for each positive pair a random negative that violates the margin.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more; none: 128 / P, at least 4.
        cap: Most images of a class in an epoch, drawn anew in each; none: every image, once.
        margin: Distance above 0 by which a negative must be farther than the positive; none: that
            of the loss, or 0.2 if it has none.
        squared: Whether to compare squared distances; the default loss then does, too.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int | None = 4,
        cap: int | None = None,
        margin: float | None = None,
        squared: bool = False,
    ) -> None:
        if margin is not None and not margin > 0:
            raise UsageError("random-hard-triplet needs margin > 0.")
        super().__init__(labels, classes=classes, per_class=per_class, cap=cap)
        self.miner = RandomHard(margin=margin, squared=squared)
        self.default_loss = f"triplet:margin={0.2 if margin is None else margin}"
        if squared:
            self.default_loss += ",squared=true"
