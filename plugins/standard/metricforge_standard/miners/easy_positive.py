"""The miner `easy-positive`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.pairwise import ChosenTriplets, Tiling, lowest, nearest_beyond


class EasyPositive:
    """For each anchor its nearest positive, and a hard or semi-hard negative (Xuan 2020).

    A class need not gather in one place, as long as each image has one of its own nearby.
    Embeddings [B, D] and labels [B] to at most B triplets. Distances are euclidean; memory is
    O(tile x B).

    Args:
        negative: Negative of a triplet: "semihard" is the nearest beyond the positive, "hard" the
            nearest.

    Reference: Xuan et al., Improved Embeddings with Easy Positive Triplet Mining, 2020.
    """

    kind = Triplets

    def __init__(self, *, negative: Literal["semihard", "hard"] = "semihard") -> None:
        self.negative = negative

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        tiling = Tiling(embeddings, labels)
        chosen = ChosenTriplets(tiling)
        for tile in tiling.squared_distances():
            near, positive = tile.positives(1, missing=torch.inf, largest=False)
            tile.hide_same(torch.inf)
            if self.negative == "hard":
                chosen.add_one_each(tile.rows, positive.squeeze(1), lowest(tile.values)[1])
            else:
                beyond = tiling.surely_beyond(tile, near)
                negative, valid = nearest_beyond(tile.values, beyond, tiling.spare(tile))
                chosen.add(tile, positive, negative, valid)
        return chosen.triplets()
