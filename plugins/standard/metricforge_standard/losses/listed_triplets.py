"""The triplet loss over listed triplets, with its gradient in the same pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.pairwise import precise
from metricforge_standard.losses.triplet_sum import TripletSum

# Triplets at a time: their rows stay in a processor's cache; a GPU is kept busy by more.
ON_CPU, ON_DEVICE = 2**10, 2**18


def sum_over_listed(
    embeddings: Tensor, triplets: Triplets, margin: float, soft: float | None
) -> TripletSum:
    """The hinge max(0, v), or soft * log(1 + exp(v / soft)), of v = d(a, p) - d(a, n) + margin.

    Summed over triplets of embeddings [B, D]. Distances are those of the differences, in float32
    at least; where two rows coincide, their gradient is zero. Memory is O(B D), not O(M D).
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
        violation = near - far + margin
        active += (violation > 0).sum()
        found, slope = _hinge(violation) if soft is None else _smooth(violation, soft)
        loss += found.to(loss.dtype).sum()
        toward.mul_(_per_distance(slope, near))
        away.mul_(_per_distance(slope, far))
        gradient.index_add_(0, positive, toward)
        gradient.index_add_(0, negative, away, alpha=-1)
        gradient.index_add_(0, anchor, away.sub_(toward))
    return TripletSum(loss, active, len(triplets.anchor), gradient)


def _hinge(violation: Tensor) -> tuple[Tensor, Tensor]:
    """The loss [M] and its slope by the violation."""
    return violation.clamp(min=0), (violation > 0).to(violation.dtype)


def _smooth(violation: Tensor, soft: float) -> tuple[Tensor, Tensor]:
    scaled = violation / soft
    return F.softplus(scaled) * soft, scaled.sigmoid()


def _per_distance(slope: Tensor, distance: Tensor) -> Tensor:
    """[M, 1]; between rows that coincide the difference is zero: so is the gradient, not NaN."""
    # The square of a smaller distance has no digits.
    return (slope / distance.clamp(min=torch.finfo(distance.dtype).tiny ** 0.5))[:, None]
