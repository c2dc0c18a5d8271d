"""The triplet loss over all triplets of a batch, exact, and without a list of them.

An anchor's positive at the distance d contributes with every negative nearer than d + margin. So
the sum and its gradient only need, for each positive, how many negatives are nearer than its
threshold, and for each negative, how many thresholds lie beyond it. The same holds for any rising
function of the distance, on whose scale the computation works.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.pairwise import Gradient, Tile, Tiling, precise
from metricforge_standard.losses._triplet_sum import Comparison, TripletSum

# From this many positives an anchor on, ranking is faster than a pass for each of them.
MANY = 40


def sum_over_all_triplets(
    embeddings: Tensor, labels: Tensor, anchors: int | None, by: Comparison
) -> TripletSum:
    """The sum of the cost `by` over all triplets of embeddings [B, D] with labels [B].

    Memory is O(tile x B); time is three products of B x B x D plus, for the hinge, O(B^2 log B), or
    for `soft`, which has no such short cut, O(B^2) for each positive of an anchor.
    """
    tiling = Tiling(embeddings, labels, anchors)
    gradient = Gradient(tiling)
    classes = tiling.classes
    positives, negatives = (f(tiling.anchors) for f in (classes.positives, classes.negatives))
    loss, active = torch.zeros(2, dtype=precise(embeddings.device), device=embeddings.device)
    for tile in tiling.squared_distances():
        most = int(classes.positives(tile.rows).max())
        if most == 0:
            continue
        values = by.scale_squares_(tile.values)
        near, columns = tile.positives(most, missing=-torch.inf, largest=True)
        tile.hide_same(torch.inf)
        if most >= MANY and by.soft is None:
            slopes, nearer, sums = _ranked(tiling, tile, near + by.margin)
        else:
            slopes, nearer, sums = _by_threshold(tiling, tile, near + by.margin, by.soft)
        loss, active = loss + sums[0], active + sums[1]
        # Scattered back to their columns, the positives pull where the negatives push.
        valid = near > -torch.inf
        values.scatter_(1, columns, torch.where(valid, near, values.gather(1, columns)))
        slopes.neg_().scatter_add_(1, columns, nearer)
        by.unscale_(slopes, values)
        gradient.of_distances(tile, slopes, values)
    total = int((positives * negatives).sum())
    return TripletSum(loss, active, total, gradient.in_batch_order())


Counted = tuple[Tensor, Tensor, tuple[Tensor, Tensor]]


def _by_threshold(tiling: Tiling, tile: Tile, thresholds: Tensor, soft: float | None) -> Counted:
    """The slopes by each negative [R, B] and each positive [R, K], the loss and the active count.

    A pass over the negatives for each of the K thresholds.
    """
    distances = tile.values
    slopes, beyond = tiling.spare(tile, 0).zero_(), tiling.spare(tile, 1)
    nearer = torch.zeros_like(thresholds)
    loss = active = thresholds.new_zeros((), dtype=precise(thresholds.device))
    for k in range(thresholds.shape[1]):
        torch.sub(thresholds[:, k, None], distances, out=beyond)
        if soft is None:
            loss = loss + beyond.relu_().sum(1).to(loss.dtype).sum()
            active = active + beyond.sign_().sum(1).to(loss.dtype).sum()
        else:
            violated = torch.sign(beyond, out=tiling.spare(tile, 2)).clamp_(min=0)
            active = active + violated.sum(1).to(loss.dtype).sum()
            loss = loss + F.softplus(beyond.div_(soft)).sum(1).to(loss.dtype).sum() * soft
            beyond.sigmoid_()
        nearer[:, k] = beyond.sum(1)
        slopes.add_(beyond)
    # Hidden entries have no slope, and must not make it NaN.
    tile.hide_same(1.0)
    return slopes, nearer, (loss, active)


def _ranked(tiling: Tiling, tile: Tile, thresholds: Tensor) -> Counted:
    """The same for a hinge with many thresholds: each negative looks up its rank among them."""
    distances = tile.values
    ordered = thresholds.flip(1).contiguous()
    rank = torch.searchsorted(ordered, distances, right=True)
    most = thresholds.shape[1]
    ones = thresholds.new_ones(()).expand_as(distances)
    histogram = thresholds.new_zeros(len(thresholds), most + 1).scatter_add_(1, rank, ones)
    nearer = histogram.cumsum(1)[:, :-1]
    slopes = tiling.spare(tile, 0).copy_(rank).neg_().add_(most)
    # Hidden entries have no slope, and must not make it NaN.
    tile.hide_same(1.0)
    exact = precise(distances.device)
    pushed = torch.mul(slopes, distances, out=tiling.spare(tile, 1)).sum(1).to(exact).sum()
    pulled = (torch.where(nearer > 0, ordered, 0.0).to(exact) * nearer).sum()
    return slopes, nearer.flip(1), (pulled - pushed, nearer.to(exact).sum())
