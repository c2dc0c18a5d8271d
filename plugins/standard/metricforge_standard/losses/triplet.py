"""The loss `triplet`."""

from __future__ import annotations

from torch import Tensor

from metricforge.contracts import AllTriplets, Triplets
from metricforge.errors import UsageError
from metricforge_standard.losses.distance import euclidean


class Triplet:
    """Wants the negative farther than the positive by a margin (Schroff 2015, Hermans 2017).

    The mean of max(0, d(a, p) - d(a, n) + margin) with euclidean d: over the triplets that
    violate the margin (`active_only`), or over all of them. No triplets give zero, with a graph.
    """

    accepts = (Triplets,)

    def __init__(self, *, margin: float = 0.2, active_only: bool = True) -> None:
        if margin <= 0:
            raise UsageError("triplet needs margin > 0.")
        self.margin, self.active_only = margin, active_only

    def __call__(
        self, embeddings: Tensor, labels: Tensor, tuples: Triplets | AllTriplets
    ) -> Tensor:
        triplets = tuples.listed(labels)
        if len(triplets.anchor) == 0:
            return embeddings.sum() * 0.0
        anchor = embeddings[triplets.anchor]
        near = euclidean(anchor, embeddings[triplets.positive])
        far = euclidean(anchor, embeddings[triplets.negative])
        violation = (near - far + self.margin).clamp(min=0)
        if not self.active_only:
            return violation.mean()
        return violation.sum() / (violation > 0).sum().clamp(min=1)
