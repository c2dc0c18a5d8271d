"""The loss `supcon`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import AllPairs, Pairs
from metricforge.errors import UsageError
from metricforge.pairwise import Gradient, Tile, Tiling, dot_products, precise, scored, unit_rows
from metricforge_standard.losses._by_anchor import log_sum_exp, sums


class SupCon:
    """Supervised contrastive learning: each positive against all other images (Khosla 2020).

    The mean over anchors with positives of the mean over these of
    -log(exp(s_p / t) / sum of exp(s / t)), the sum over all of the anchor's pairs, s the cosine of
    two embeddings, t the `temperature`. All pairs, or a whole batch, are computed in tiles. Without
    positives the loss is zero, with a graph.

    Args:
        temperature: Divisor t of the cosines, above 0.

    Reference: Khosla et al., Supervised Contrastive Learning, 2020.
    """

    accepts = (Pairs, None)

    def __init__(self, *, temperature: float = 0.1) -> None:
        if not temperature > 0:
            raise UsageError("supcon needs temperature > 0.")
        self.temperature = temperature

    def __call__(
        self, embeddings: Tensor, labels: Tensor, tuples: Pairs | AllPairs | None
    ) -> Tensor:
        rows = unit_rows(embeddings if embeddings.dtype.itemsize > 2 else embeddings.float())
        if isinstance(tuples, Pairs):
            return self._of_listed(rows, tuples)
        return self._of_all(rows, labels, tuples.anchors if tuples else None)

    def _of_listed(self, rows: Tensor, pairs: Pairs) -> Tensor:
        count = len(rows)
        power = dot_products(rows, pairs.anchor, pairs.other) / self.temperature
        everything = log_sum_exp(power, pairs.anchor, count, -torch.inf)
        positive = pairs.same.nonzero().squeeze(1)
        anchor = pairs.anchor[positive]
        loss = sums(everything[anchor] - power[positive], anchor, count)
        positives = sums(torch.ones_like(loss)[anchor], anchor, count)
        loss = (loss / positives.clamp(min=1)).sum() + rows[:0].sum()
        return loss / (positives > 0).sum().clamp(min=1)

    def _of_all(self, rows: Tensor, labels: Tensor, anchors: int | None) -> Tensor:
        tiling = Tiling(rows, labels, anchors)
        gradient = Gradient(tiling)
        loss = torch.zeros((), dtype=precise(rows.device), device=rows.device)
        with_positives = int((tiling.classes.positives(tiling.anchors) > 0).sum())
        for tile in tiling.similarities() if with_positives else ():
            losses, slopes = self._of_tile(tiling, tile)
            loss += losses.to(loss.dtype).sum()
            gradient.of_similarities(tile, slopes)
        scale = max(with_positives, 1)
        slope = gradient.in_batch_order() / (scale * self.temperature)
        return scored(rows, (loss / scale).to(slope.dtype), slope)

    def _of_tile(self, tiling: Tiling, tile: Tile) -> tuple[Tensor, Tensor]:
        """The loss [R] of each anchor and the slopes [R, B]; zero for one without positives."""
        share = tile.positive.to(tile.values.dtype)
        count = share.sum(1, keepdim=True)
        share /= count.clamp(min=1)
        power = tile.values.div_(self.temperature)
        together = (share * tile.near).sum(1)
        power.scatter_(1, tile.own[:, None], -torch.inf)
        top = power.amax(1, keepdim=True)
        total = power.sub_(top).exp_().sum(1, keepdim=True)
        some = (count > 0).to(power.dtype)
        power.mul_(some / total)
        power[:, tile.window].sub_(share)
        return ((top + total.log()).squeeze(1) - together) * some.squeeze(1), power
