"""The loss `contrastive`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import AllPairs, Pairs
from metricforge.errors import UsageError
from metricforge.pairwise import Gradient, Tiling, distances, precise, scored


class Contrastive:
    """Pulls pairs of a class together and pushes others beyond a margin (Hadsell 2006).

    The mean over pairs of d^2 / 2 for a pair of one class and max(0, margin - d)^2 / 2 for
    another, with d the euclidean distance. All pairs of a batch are gone through in tiles. No
    pairs give zero, with a graph.
    """

    accepts = (Pairs,)
    active: Tensor | None = None

    def __init__(self, *, margin: float = 1.0) -> None:
        if not margin > 0:
            raise UsageError("contrastive needs margin > 0.")
        self.margin = margin

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Pairs | AllPairs) -> Tensor:
        if isinstance(tuples, AllPairs):
            return self._of_all(embeddings, labels, tuples.anchors)
        distance = distances(embeddings, tuples.anchor, tuples.other)
        apart = torch.where(tuples.same, distance, (self.margin - distance).clamp(min=0))
        self.active = (apart.detach() > 0).sum()
        if len(distance) == 0:
            return embeddings[:0].sum()
        return apart.square().mean() / 2

    def _of_all(self, embeddings: Tensor, labels: Tensor, anchors: int | None) -> Tensor:
        tiling = Tiling(embeddings, labels, anchors)
        gradient = Gradient(tiling)
        loss, active = torch.zeros(2, dtype=precise(embeddings.device), device=embeddings.device)
        symmetric = len(tiling.anchors) == len(labels)
        for tile in tiling.squared_distances():
            distance = tile.values.sqrt_()
            slopes, scratch = tiling.spare(tile, 0), tiling.spare(tile, 1)
            # Of one class, the anchor itself included: its distance is zero, and so its slope.
            together = torch.where(tile.same, tile.near, 0.0)
            torch.sub(self.margin, distance, out=slopes).clamp_(min=0).neg_()
            slopes[:, tile.window].masked_fill_(tile.same, 0.0).add_(together)
            loss += torch.mul(slopes, slopes, out=scratch).sum(1).to(loss.dtype).sum()
            active += torch.sign(slopes, out=scratch).abs_().sum(1).to(loss.dtype).sum()
            gradient.of_distances(tile, slopes, distance, symmetric)
        self.active = active
        count = max(len(tiling.anchors) * (len(labels) - 1), 1)
        value, slope = loss / (2 * count), gradient.in_batch_order() / count
        return scored(embeddings, value.to(slope.dtype), slope)
