"""The loss `triplet`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import AllTriplets, Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import scored
from metricforge_standard.losses.all_triplets import sum_over_all_triplets
from metricforge_standard.losses.listed_triplets import sum_over_listed


class Triplet:
    """Wants the negative farther than the positive by a margin (Schroff 2015, Hermans 2017).

    With v = d(a, p) - d(a, n) + margin and euclidean d: the mean of max(0, v) over the triplets
    that violate the margin (`active_only`), or over all. `soft` T puts T log(1 + exp(v / T)) in
    its place, the mean over all: it goes on pulling where the hinge lets go, and the hardest
    triplets no longer hold the whole batch at the margin. All triplets of a batch are summed up
    without being listed. No triplets give zero, with a graph.
    """

    accepts = (Triplets,)
    active: Tensor | None = None

    def __init__(
        self, *, margin: float = 0.2, active_only: bool = True, soft: float | None = None
    ) -> None:
        if not margin >= 0 or (margin == 0 and soft is None):
            raise UsageError("triplet needs margin > 0, or margin 0 with soft.")
        if soft is not None and not soft > 0:
            raise UsageError("triplet needs soft > 0.")
        self.margin, self.active_only, self.soft = margin, active_only, soft

    def __call__(
        self, embeddings: Tensor, labels: Tensor, tuples: Triplets | AllTriplets
    ) -> Tensor:
        rule = (self.margin, self.soft)
        if isinstance(tuples, AllTriplets):
            found = sum_over_all_triplets(embeddings, labels, tuples.anchors, *rule)
        else:
            found = sum_over_listed(embeddings, tuples, *rule)
        self.active = found.active
        total = torch.as_tensor(found.total, device=found.active.device)
        mean_over = found.active if self.active_only and self.soft is None else total
        count = mean_over.clamp(min=1)
        dtype = found.gradient.dtype
        return scored(embeddings, (found.loss / count).to(dtype), found.gradient / count.to(dtype))
