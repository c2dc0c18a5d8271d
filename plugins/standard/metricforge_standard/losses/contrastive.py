"""The loss `contrastive`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import AllPairs, Counted, Pairs
from metricforge.errors import UsageError
from metricforge.pairwise import Gradient, Tiling, distances, precise, scored


class Contrastive:
    """Pulls pairs of a class together and pushes others beyond a margin (Hadsell 2006).

    The mean over pairs of d^2 / 2 for a pair of one class and of max(0, margin - d)^2 / 2 for any
    other, with d the euclidean distance. With reduction=sum it is their sum. The sum counts each
    pair of two images once, also where a miner lists it from either side; it grows with the number
    of pairs, and so does the gradient. All pairs of a batch are computed in tiles. Without pairs
    the loss is zero, with a graph.

    Args:
        margin: Distance above 0 beyond which pairs of two classes cost nothing.
        reduction: "mean" over pairs, or their "sum", each pair once.

    Reference: Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping, 2006.
    """

    accepts = (Pairs,)

    def __init__(self, *, margin: float = 1.0, reduction: Literal["mean", "sum"] = "mean") -> None:
        if not margin > 0:
            raise UsageError("contrastive needs margin > 0.")
        if reduction not in ("mean", "sum"):
            raise UsageError(f"contrastive needs reduction mean or sum, not {reduction}.")
        self.margin, self.reduction = margin, reduction

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Pairs | AllPairs) -> Tensor:
        return self.counted(embeddings, labels, tuples).value

    def counted(self, embeddings: Tensor, labels: Tensor, tuples: Pairs | AllPairs) -> Counted:
        """The loss, and the number of pairs that add to it.

        A pair of a class does if it is apart, a pair of two if it is within the margin.
        """
        if isinstance(tuples, AllPairs):
            return self._of_all(embeddings, labels, tuples.anchors)
        distance = distances(embeddings, tuples.anchor, tuples.other)
        apart = torch.where(tuples.same, distance, (self.margin - distance).clamp(min=0))
        active = (apart.detach() > 0).sum()
        if len(distance) == 0:
            return Counted(embeddings[:0].sum(), active)
        if self.reduction == "mean":
            return Counted(apart.square().mean() / 2, active)
        return Counted((apart.square() / _listings(tuples, len(labels))).sum() / 2, active)

    def _of_all(self, embeddings: Tensor, labels: Tensor, anchors: int | None) -> Counted:
        tiling = Tiling(embeddings, labels, anchors)
        gradient = Gradient(tiling)
        loss, active = torch.zeros(2, dtype=precise(embeddings.device), device=embeddings.device)
        symmetric = len(tiling.anchors) == len(labels)
        once = None if self.reduction == "mean" or symmetric else _once(tiling)
        for tile in tiling.squared_distances():
            distance = tile.values.sqrt_()
            slopes, scratch = tiling.spare(tile, 0), tiling.spare(tile, 1)
            # Of one class, the anchor itself included: its distance is zero, and so its slope.
            together = torch.where(tile.same, tile.near, 0.0)
            torch.sub(self.margin, distance, out=slopes).clamp_(min=0).neg_()
            slopes[:, tile.window].masked_fill_(tile.same, 0.0).add_(together)
            squares = torch.mul(slopes, slopes, out=scratch)
            loss += (squares if once is None else squares.mul_(once)).sum(1).to(loss.dtype).sum()
            active += torch.sign(slopes, out=scratch).abs_().sum(1).to(loss.dtype).sum()
            slopes = slopes if once is None else slopes.mul_(once)
            gradient.of_distances(tile, slopes, distance, symmetric)
        count = max(len(tiling.anchors) * (len(labels) - 1), 1)
        if self.reduction == "sum":
            # From either side each pair was added twice; `once` has halved that already.
            count = 2 if once is None else 1
        value, slope = loss / (2 * count), gradient.in_batch_order() / count
        return Counted(scored(embeddings, value.to(slope.dtype), slope), active)


def _once(tiling: Tiling) -> Tensor:
    """The weight of an anchor's pair with each sorted row [B], so that each pair counts once."""
    counts = np.ones(len(tiling.rows), dtype=np.float32)
    # Two anchors have their pair from either side.
    counts[tiling.anchors] = 0.5
    return tiling.classes.there(counts).to(tiling.rows.dtype)


def _listings(pairs: Pairs, images: int) -> Tensor:
    """How often the two images of each pair [M] are listed, from either side."""
    anchor, other, _ = pairs
    keys = torch.minimum(anchor, other) * images + torch.maximum(anchor, other)
    # By sorting, because unique() would wait for the device.
    ordered = keys.sort().values
    return torch.searchsorted(ordered, keys, right=True) - torch.searchsorted(ordered, keys)
