"""The miner `multi-similarity`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Loss, Pairs
from metricforge.pairwise import ChosenPairs, Tiling, unit_rows
from metricforge_standard.losses.multi_similarity import MultiSimilarity as MultiSimilarityLoss
from metricforge_standard.miners.all_pairs import AllPairs


class MultiSimilarity:
    """The pairs that are hard compared with the other pairs of their anchor (Wang 2019).

    A negative is chosen if it is more similar than the anchor's farthest positive - epsilon, a
    positive if it is less similar than the anchor's nearest negative + epsilon; similarity is the
    cosine. Embeddings [B, D] and labels [B] to a list of pairs: early in training nearly all B(B-1)
    of them. The loss `multi-similarity` with the same `epsilon` makes this choice itself; the miner
    leaves it to that loss and lists no pairs.

    Args:
        epsilon: Slack of the comparison, a difference of cosines; larger chooses more pairs.

    Reference: Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric
        Learning, 2019.
    """

    kind = Pairs

    def __init__(self, *, epsilon: float = 0.1) -> None:
        self.epsilon = epsilon

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Pairs:
        rows = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        tiling = Tiling(unit_rows(rows), labels)
        chosen = ChosenPairs(tiling)
        for tile in tiling.similarities():
            together = torch.where(tile.positive, tile.near, torch.inf)
            farthest = together.amin(1, keepdim=True)
            tile.hide_same(-torch.inf)
            nearest = tile.values.amax(1, keepdim=True)
            chosen.add_where(tile, together < nearest + self.epsilon, tile.window.start, same=True)
            chosen.add_where(tile, tile.values > farthest - self.epsilon, 0, same=False)
        return chosen.pairs()

    def left_to(self, loss: Loss) -> AllPairs | None:
        """All pairs, for a loss that makes the same choice; its mean is then over all anchors."""
        same = isinstance(loss, MultiSimilarityLoss) and loss.epsilon == self.epsilon
        return AllPairs() if same else None
