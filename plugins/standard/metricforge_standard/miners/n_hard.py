"""The miner `n-hard`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import ChosenTriplets, Tiling


class NHard:
    """For each anchor its farthest positives and its nearest negatives, all with all.

    With one positive and one negative it is `batch-hard`. Embeddings [B, D] and labels [B] to at
    most B * positives * negatives triplets. Distances are euclidean; memory is O(tile x B).

    Args:
        positives: Farthest positives of each anchor, 1 or more.
        negatives: Nearest negatives of each anchor, 1 or more.
    """

    kind = Triplets

    def __init__(self, *, positives: int = 2, negatives: int = 2) -> None:
        if positives < 1 or negatives < 1:
            raise UsageError("n-hard needs positives >= 1 and negatives >= 1.")
        self.positives, self.negatives = positives, negatives

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        tiling = Tiling(embeddings, labels)
        chosen = ChosenTriplets(tiling)
        for tile in tiling.squared_distances():
            far, positive = tile.positives(self.positives, missing=-torch.inf, largest=True)
            tile.hide_same(torch.inf)
            count = min(self.negatives, tile.values.shape[1])
            near, negative = tile.values.topk(count, dim=1, largest=False)
            both = (far > -torch.inf)[:, :, None] & (near < torch.inf)[:, None, :]
            chosen.add(tile, positive[:, :, None], negative[:, None, :], both)
        return chosen.triplets()
