"""The triplet loss over listed triplets, with its gradient in the same pass."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.pairwise import precise
from metricforge_standard.losses._triplet_sum import Comparison, TripletSum

# Triplets at a time: their rows fit the cache of a CPU; more of them keep a GPU busy.
ON_CPU, ON_DEVICE = 2**10, 2**18


def sum_over_listed(embeddings: Tensor, triplets: Triplets, by: Comparison) -> TripletSum:
    """The sum of the cost `by` over listed triplets of embeddings [B, D].

    Distances are those of the differences, in float32 at least; where two rows coincide, their
    gradient is zero. Memory is O(B D), not O(M D).
    """
    rows = embeddings.detach()
    rows = rows if rows.dtype == torch.float64 else rows.float()
    gradient = torch.zeros_like(rows)
    loss, active = torch.zeros(2, dtype=precise(rows.device), device=rows.device)
    part = ON_CPU if rows.device.type == "cpu" else ON_DEVICE
    for anchor, positive, negative in zip(*(t.split(part) for t in triplets), strict=True):
        anchors = rows.index_select(0, anchor)
        toward = rows.index_select(0, positive).sub_(anchors)
        away = rows.index_select(0, negative).sub_(anchors)
        near, far = torch.linalg.vector_norm(toward, dim=1), torch.linalg.vector_norm(away, dim=1)
        violation = by.scaled(near) - by.scaled(far) + by.margin
        active += (violation > 0).sum()
        cost, slope = by.cost(violation)
        loss += cost.to(loss.dtype).sum()
        toward.mul_(by.pull(slope, near)[:, None])
        away.mul_(by.pull(slope, far)[:, None])
        gradient.index_add_(0, positive, toward)
        gradient.index_add_(0, negative, away, alpha=-1)
        gradient.index_add_(0, anchor, away.sub_(toward))
    return TripletSum(loss, active, len(triplets.anchor), gradient)
