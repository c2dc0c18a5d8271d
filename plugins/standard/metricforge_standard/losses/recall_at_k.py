"""The loss `recall-at-k`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metricforge.errors import UsageError
from metricforge.pairwise import unit_rows

ENTRIES_PER_TILE = 2**22
"""Comparisons of a positive with an image in a tile, 16 MB: larger batches take more tiles."""


class RecallAtK:
    """One minus a smooth recall at several k, each image a query for the others (Patel 2022).

    The rank of a positive x of a query q is 1 + the sum over all other images z of
    sigmoid((s_z - s_x) / rank_temperature), s the cosine with q. The recall at k is the sum over
    positives of sigmoid((k - rank) / cut_temperature), at most k, divided by the number of
    positives or by k, whichever is smaller. The mean over k and over queries with positives is
    computed in tiles. Without positives the loss is zero, with a graph.

    Args:
        k: The numbers of images that are retrieved, each 1 or more.
        rank_temperature: Softness of the comparison of two cosines, above 0.
        cut_temperature: Softness of the cut after k images, above 0.

    Reference: Patel et al., Recall@k Surrogate Loss with Large Batches and Similarity Mixup, 2022.
    """

    accepts = (None,)

    def __init__(
        self,
        *,
        k: tuple[int, ...] = (1, 2, 4, 8, 16),
        rank_temperature: float = 0.01,
        cut_temperature: float = 1.0,
    ) -> None:
        if not k or min(k) < 1:
            raise UsageError("recall-at-k needs one k or more, each 1 or more.")
        if not (rank_temperature > 0 and cut_temperature > 0):
            raise UsageError("recall-at-k needs temperatures > 0.")
        self.k, self.rank_temperature, self.cut_temperature = k, rank_temperature, cut_temperature

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: None) -> Tensor:
        rows = unit_rows(embeddings if embeddings.dtype.itemsize > 2 else embeddings.float())
        counts = (labels[:, None] == labels).sum(1) - 1
        queries = counts.nonzero().squeeze(1)
        if not len(queries):
            return rows[:0].sum()
        most = int(counts.max())
        parts = queries.split(max(1, ENTRIES_PER_TILE // (most * len(rows))))
        losses = [
            # With one tile nothing is saved by computing it again for the gradient.
            checkpoint(self._of_tile, rows, labels, part, most, use_reentrant=False)
            if len(parts) > 1
            else self._of_tile(rows, labels, part, most)
            for part in parts
        ]
        total: Tensor = torch.stack(losses).sum() / len(queries)
        return total

    def _of_tile(self, rows: Tensor, labels: Tensor, queries: Tensor, most: int) -> Tensor:
        """The sum of the losses of some queries [R], none of which has more positives than most."""
        cosines = rows[queries] @ rows.T
        itself = queries[:, None] == torch.arange(len(rows), device=rows.device)
        positive = (labels[queries][:, None] == labels) & ~itself
        # The positives of each query [R, P]; those that it lacks are any others.
        there, places = positive.int().topk(most, dim=1)
        near = cosines.gather(1, places)
        above = ((cosines[:, None] - near[:, :, None]) / self.rank_temperature).sigmoid()
        others = (~itself)[:, None].expand(above.shape).scatter(2, places[:, :, None], False)
        rank = 1 + (above * others).sum(2)
        recalls = [self._recall(k, rank, there) for k in self.k]
        return (1 - torch.stack(recalls).mean(0)).sum()

    def _recall(self, k: int, rank: Tensor, there: Tensor) -> Tensor:
        """The smooth recall at k of each query, from the ranks [R, P] of its positives."""
        hits = (((k - rank) / self.cut_temperature).sigmoid() * there).sum(1)
        return hits.clamp(max=k) / there.sum(1).clamp(max=k)
