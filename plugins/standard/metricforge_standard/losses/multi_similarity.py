"""The loss `multi-similarity`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import AllPairs, Counted, Pairs
from metricforge.errors import UsageError
from metricforge.pairwise import Gradient, Tile, Tiling, dot_products, precise, scored, unit_rows
from metricforge_standard.losses._by_anchor import highest, log_sum_exp


class MultiSimilarity:
    """Weighs each pair by its similarity and by those of its anchor's other pairs (Wang 2019).

    The mean over anchors with pairs of log(1 + sum of exp(-alpha (s - base))) / alpha over their
    positives plus log(1 + sum of exp(beta (s - base))) / beta over their negatives, s the cosine of
    two embeddings.

    With `epsilon` each anchor has only the negatives with s above that of its farthest positive -
    epsilon, and only the positives with s below that of its nearest negative + epsilon, as in the
    paper's mining. All pairs, or a whole batch, are computed in tiles. Without pairs the loss is
    zero, with a graph.

    Args:
        alpha: Sharpness over the positives, above 0.
        beta: Sharpness over the negatives, above 0.
        base: Cosine around which pairs are weighed.
        epsilon: Slack of the choice of hard pairs, a difference of cosines; none: all pairs count.

    Reference: Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric
        Learning, 2019.
    """

    accepts = (Pairs, None)

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        epsilon: float | None = None,
    ) -> None:
        if not (alpha > 0 and beta > 0):
            raise UsageError("multi-similarity needs alpha > 0 and beta > 0.")
        self.alpha, self.beta, self.base, self.epsilon = alpha, beta, base, epsilon

    def __call__(
        self, embeddings: Tensor, labels: Tensor, tuples: Pairs | AllPairs | None
    ) -> Tensor:
        return self.counted(embeddings, labels, tuples).value

    def counted(
        self, embeddings: Tensor, labels: Tensor, tuples: Pairs | AllPairs | None
    ) -> Counted:
        """The loss, and the number of pairs that are weighed."""
        rows = unit_rows(embeddings if embeddings.dtype.itemsize > 2 else embeddings.float())
        if isinstance(tuples, Pairs):
            return self._of_listed(rows, tuples)
        return self._of_all(rows, labels, tuples.anchors if tuples else None)

    def _of_listed(self, rows: Tensor, pairs: Pairs) -> Counted:
        similarity, count = dot_products(rows, pairs.anchor, pairs.other), len(rows)
        chosen = torch.ones_like(pairs.same)
        if self.epsilon is not None:
            known, hidden = similarity.detach(), -torch.inf
            nearest = torch.where(pairs.same, hidden, known)
            farthest = torch.where(pairs.same, -known, hidden)
            nearest = highest(nearest, pairs.anchor, count, hidden)[pairs.anchor]
            farthest = -highest(farthest, pairs.anchor, count, hidden)[pairs.anchor]
            close, far = known > farthest - self.epsilon, known < nearest + self.epsilon
            chosen = torch.where(pairs.same, far, close)
        anchors = torch.zeros(count, device=rows.device).index_fill_(0, pairs.anchor, 1.0).sum()
        loss = rows.new_zeros(())
        for mask, scale in ((pairs.same, -self.alpha), (~pairs.same, self.beta)):
            indices = (mask & chosen).nonzero().squeeze(1)
            powers = scale * (similarity[indices] - self.base)
            loss = loss + log_sum_exp(powers, pairs.anchor[indices], count, 0.0).sum() / abs(scale)
        return Counted((loss + rows[:0].sum()) / anchors.clamp(min=1), chosen.sum())

    def _of_all(self, rows: Tensor, labels: Tensor, anchors: int | None) -> Counted:
        tiling = Tiling(rows, labels, anchors)
        gradient = Gradient(tiling)
        loss, active = torch.zeros(2, dtype=precise(rows.device), device=rows.device)
        for tile in tiling.similarities() if len(labels) > 1 else ():
            losses, count, slopes = self._of_tile(tiling, tile)
            loss, active = loss + losses.to(loss.dtype).sum(), active + count.to(loss.dtype).sum()
            gradient.of_similarities(tile, slopes)
        anchored = max(len(tiling.anchors), 1)
        value, slope = loss / anchored, gradient.in_batch_order() / anchored
        return Counted(scored(rows, value.to(slope.dtype), slope), active)

    def _of_tile(self, tiling: Tiling, tile: Tile) -> tuple[Tensor, Tensor, Tensor]:
        """The loss [R] of each anchor, its pairs that count [R], and the slopes [R, B]."""
        together = torch.where(tile.positive, tile.near, torch.inf)
        tile.hide_same(-torch.inf)
        mask, count = None, tiling.classes.there(tiling.classes.negatives(tile.rows))
        if self.epsilon is not None:
            mask = tiling.spare(tile, 1)
            farthest, nearest = together.amin(1), tile.values.amax(1)
            together.masked_fill_(together >= nearest[:, None] + self.epsilon, torch.inf)
            torch.sub(tile.values, farthest[:, None] - self.epsilon, out=mask)
            count = mask.sign_().clamp_(min=0).sum(1)
        count = count + (together < torch.inf).sum(1)
        slopes = tile.values.sub_(self.base).mul_(self.beta)
        apart, pushes = _log1p_sum_exp(slopes, mask)
        pull, pulls = _log1p_sum_exp((together - self.base).mul_(-self.alpha), None)
        slopes[:, tile.window].sub_(pulls)
        return apart / self.beta + pull / self.alpha, count, pushes


def _log1p_sum_exp(powers: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """log(1 + sum of exp) over each row [R, M], and its slope by each power, in place."""
    top = powers.amax(1).clamp(min=0)
    powers.sub_(top[:, None]).exp_()
    if mask is not None:
        powers.mul_(mask)
    total = powers.sum(1) + (-top).exp()
    return top + total.log(), powers.div_(total[:, None])
