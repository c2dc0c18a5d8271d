"""The loss `nt-xent`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import AllPairs, Pairs
from metricforge.errors import UsageError
from metricforge.pairwise import Gradient, Tile, Tiling, dot_products, precise, scored, unit_rows
from metricforge_standard.losses._by_anchor import log_sum_exp


class NTXent:
    """Classifies each positive against the negatives of its anchor (Sohn 2016, Chen 2020).

    The mean over positive pairs of -log(exp(s_p / t) / (exp(s_p / t) + sum of exp(s_n / t))), the
    sum over the anchor's negatives, s the cosine of two embeddings, t the `temperature`. All pairs,
    or a whole batch, are computed in tiles. Without positives the loss is zero, with a graph.

    Args:
        temperature: Divisor t of the cosines, above 0.

    Reference: Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, 2016.
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020.
    """

    accepts = (Pairs, None)

    def __init__(self, *, temperature: float = 0.1) -> None:
        if not temperature > 0:
            raise UsageError("nt-xent needs temperature > 0.")
        self.temperature = temperature

    def __call__(
        self, embeddings: Tensor, labels: Tensor, tuples: Pairs | AllPairs | None
    ) -> Tensor:
        rows = unit_rows(embeddings if embeddings.dtype.itemsize > 2 else embeddings.float())
        if isinstance(tuples, Pairs):
            return self._of_listed(rows, tuples)
        return self._of_all(rows, labels, tuples.anchors if tuples else None)

    def _of_listed(self, rows: Tensor, pairs: Pairs) -> Tensor:
        power = dot_products(rows, pairs.anchor, pairs.other) / self.temperature
        positive, negative = (part.nonzero().squeeze(1) for part in (pairs.same, ~pairs.same))
        negatives = log_sum_exp(power[negative], pairs.anchor[negative], len(rows), -torch.inf)
        loss = -F.logsigmoid(power[positive] - negatives[pairs.anchor[positive]])
        return (loss.sum() + rows[:0].sum()) / max(len(positive), 1)

    def _of_all(self, rows: Tensor, labels: Tensor, anchors: int | None) -> Tensor:
        tiling = Tiling(rows, labels, anchors)
        gradient = Gradient(tiling)
        loss = torch.zeros((), dtype=precise(rows.device), device=rows.device)
        count = int(tiling.classes.positives(tiling.anchors).sum())
        for tile in tiling.similarities() if count and len(tiling.classes.size) > 1 else ():
            losses, slopes = self._of_tile(tiling, tile)
            loss += losses.to(loss.dtype).sum()
            gradient.of_similarities(tile, slopes)
        scale = max(count, 1)
        slope = gradient.in_batch_order() / (scale * self.temperature)
        return scored(rows, (loss / scale).to(slope.dtype), slope)

    def _of_tile(self, tiling: Tiling, tile: Tile) -> tuple[Tensor, Tensor]:
        """The loss [R] of each anchor, summed over its positives, and the slopes [R, B]."""
        positive = tile.positive
        power = tile.values.div_(self.temperature)
        together = torch.where(positive, tile.near, torch.inf)
        tile.hide_same(-torch.inf)
        top = power.amax(1, keepdim=True)
        total = power.sub_(top).exp_().sum(1, keepdim=True)
        # By how much the negatives outweigh each positive; -inf without a positive.
        outweighed = (top + total.log()) - together
        share = outweighed.sigmoid()
        power.mul_(share.sum(1, keepdim=True) / total)
        power[:, tile.window].sub_(share)
        # softplus would lose the last digits of a large value.
        return -F.logsigmoid(-outweighed).sum(1), power
