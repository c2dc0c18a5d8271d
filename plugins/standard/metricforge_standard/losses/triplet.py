"""The loss `triplet`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import AllTriplets, Triplets
from metricforge.errors import UsageError
from metricforge_standard.losses.distance import euclidean


class Triplet:
    """Wants the negative farther than the positive by a margin (Schroff 2015, Hermans 2017).

    With v = d(a, p) - d(a, n) + margin and euclidean d: the mean of max(0, v) over the triplets
    that violate the margin (`active_only`), or over all. `soft` T puts T log(1 + exp(v / T)) in
    its place, the mean over all: it goes on pulling where the hinge lets go, and the hardest
    triplets no longer hold the whole batch at the margin. No triplets give zero, with a graph.
    """

    accepts = (Triplets,)

    def __init__(
        self, *, margin: float = 0.2, active_only: bool = True, soft: float | None = None
    ) -> None:
        if margin < 0 or (margin == 0 and soft is None):
            raise UsageError("triplet needs margin > 0, or margin 0 with soft.")
        if soft is not None and soft <= 0:
            raise UsageError("triplet needs soft > 0.")
        self.margin, self.active_only, self.soft = margin, active_only, soft

    def __call__(
        self, embeddings: Tensor, labels: Tensor, tuples: Triplets | AllTriplets
    ) -> Tensor:
        triplets = tuples.listed(labels)
        if len(triplets.anchor) == 0:
            return embeddings.sum() * 0.0
        anchor = embeddings[triplets.anchor]
        near = euclidean(anchor, embeddings[triplets.positive])
        far = euclidean(anchor, embeddings[triplets.negative])
        violation = near - far + self.margin
        if self.soft is not None:
            return F.softplus(violation / self.soft).mean() * self.soft
        violation = violation.clamp(min=0)
        if not self.active_only:
            return violation.mean()
        return violation.sum() / (violation > 0).sum().clamp(min=1)
