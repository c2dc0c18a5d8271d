"""The miner `semihard`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.pairwise import ChosenTriplets, Tiling, nearest_beyond


class SemiHard:
    """For each positive pair the nearest negative that is farther than it (Schroff 2015).

    Embeddings [B, D] and labels [B] to at most as many triplets as there are ordered pairs of a
    class; a pair with no negative beyond it has none. Distances are euclidean; memory is
    O(tile x B).

    Reference: Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering,
        2015.
    """

    kind = Triplets

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        tiling = Tiling(embeddings, labels)
        chosen = ChosenTriplets(tiling)
        for tile in tiling.squared_distances():
            most = int(tiling.classes.positives(tile.rows).max())
            near, positive = tile.positives(most, missing=torch.inf, largest=False)
            tile.hide_same(torch.inf)
            beyond = tiling.surely_beyond(tile, near)
            negative, valid = nearest_beyond(tile.values, beyond, tiling.spare(tile))
            chosen.add(tile, positive, negative, valid)
        return chosen.triplets()
