"""The miner `random-hard`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import ChosenTriplets, Tiling, nth_below


class RandomHard:
    """For each positive pair a random one of the negatives that violate the margin.

    A negative violates it if it is nearer than the positive and `margin`. All that do are equally
    likely. Embeddings [B, D] and labels [B] to at most as many triplets as there are ordered pairs
    of a class. Distances are euclidean; memory is O(tile x B).

    Args:
        margin: Distance above 0 by which a negative must be farther than the positive; none: that
            of the loss, or 0.2 if it has none.
        squared: Whether to compare squared distances, as the loss `triplet:squared=true` does.
    """

    kind = Triplets

    def __init__(self, *, margin: float | None = None, squared: bool = False) -> None:
        if margin is not None and not margin > 0:
            raise UsageError("random-hard needs margin > 0.")
        self.own_margin, self.squared = margin, squared

    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        rng: np.random.Generator,
        margin: float | None = None,
    ) -> Triplets:
        tiling = Tiling(embeddings, labels)
        chosen = ChosenTriplets(tiling)
        own = margin if self.own_margin is None else self.own_margin
        for tile in tiling.squared_distances():
            most = int(tiling.classes.positives(tile.rows).max())
            if not self.squared:
                tile.values.sqrt_()
            near, positive = tile.positives(most, missing=-torch.inf, largest=True)
            tile.hide_same(torch.inf)
            draw = tiling.classes.there(rng.random((len(tile.rows), near.shape[1])))
            thresholds = near + (0.2 if own is None else own)
            negative, valid = nth_below(tile.values, thresholds, draw, tiling.spare(tile))
            chosen.add(tile, positive, negative, valid)
        return chosen.triplets()
