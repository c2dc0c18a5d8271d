"""The miner `random-hard`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.pairwise import ChosenTriplets, Tiling, nth_below


class RandomHard:
    """For each positive pair a random one of the negatives that violate the margin.

    Those are the negatives nearer than the positive and the margin of the loss (0.2 if it has
    none), each as likely as the next. `squared` compares squared distances, as the loss
    `triplet:squared=true` does. Embeddings [B, D] and labels [B] to at most as many triplets as
    there are ordered pairs of a class. Distances are euclidean; memory is O(tile x B).
    """

    kind = Triplets

    def __init__(self, margin: float | None = None, *, squared: bool = False) -> None:
        # None is replaced by the loss's, when there is one.
        self.margin = margin
        self.squared = squared

    def __call__(self, embeddings: Tensor, labels: Tensor, rng: np.random.Generator) -> Triplets:
        tiling = Tiling(embeddings, labels)
        chosen = ChosenTriplets(tiling)
        margin = 0.2 if self.margin is None else self.margin
        for tile in tiling.squared_distances():
            most = int(tiling.classes.positives(tile.rows).max())
            if not self.squared:
                tile.values.sqrt_()
            near, positive = tile.positives(most, missing=-torch.inf, largest=True)
            tile.hide_same(torch.inf)
            draw = tiling.classes.there(rng.random((len(tile.rows), near.shape[1])))
            thresholds = near + margin
            negative, there = nth_below(tile.values, thresholds, draw, tiling.spare(tile))
            chosen.add(tile, positive, negative, there)
        return chosen.triplets()
