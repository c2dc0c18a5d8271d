"""The miner `distance-weighted`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import ChosenTriplets, Tile, Tiling, unit_rows

# Larger than any logarithm of a weight.
BEYOND = 1e30


class DistanceWeighted:
    """For each positive pair a negative drawn so that all distances are equally likely (Wu 2017).

    On a sphere most distances are near the square root of 2. A negative at distance d is drawn with
    a weight of one over the density of d there. Distances below `nearest` count as `nearest`, so
    that a few noisy ones don't take all draws. Negatives farther than `farthest` are not drawn,
    unless an anchor has no others: then all are equally likely.

    Embeddings [B, D], which it scales to unit length, and labels [B] to as many triplets as there
    are ordered pairs of a class; memory is O(tile x B).

    Args:
        nearest: Smallest distance in the weights, above 0; a nearer negative counts as this far.
        farthest: Distance beyond which no negative is drawn, above `nearest` and at most 2.

    Reference: Wu et al., Sampling Matters in Deep Embedding Learning, 2017.
    """

    kind = Triplets

    def __init__(self, *, nearest: float = 0.5, farthest: float = 1.4) -> None:
        if not 0 < nearest < farthest <= 2:
            raise UsageError("distance-weighted needs 0 < nearest < farthest <= 2.")
        self.nearest, self.farthest = nearest, farthest

    def __call__(self, embeddings: Tensor, labels: Tensor, rng: np.random.Generator) -> Triplets:
        rows = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        tiling = Tiling(unit_rows(rows), labels)
        chosen = ChosenTriplets(tiling)
        for tile in tiling.squared_distances() if len(tiling.classes.size) > 1 else ():
            most = int(tiling.classes.positives(tile.rows).max())
            near, positive = tile.positives(most, missing=-torch.inf, largest=True)
            tile.hide_same(torch.inf)
            chances = self._chances(tiling, tile, embeddings.shape[1])
            draw = tiling.classes.there(rng.random((len(tile.rows), near.shape[1])))
            total = chances[:, -1:].contiguous()
            negative = torch.searchsorted(chances, draw.to(chances) * total, right=True)
            # Rounding must not carry a draw beyond the last that has a chance.
            last = torch.searchsorted(chances, total).clamp(max=len(labels) - 1)
            valid = near > -torch.inf
            negative = torch.minimum(negative, last)
            chosen.add(tile, positive, negative, valid)
        return chosen.triplets()

    def _chances(self, tiling: Tiling, tile: Tile, dim: int) -> Tensor:
        """The weights of each anchor's negatives, summed up along its row, [R, B]."""
        squared, weights, far = tile.values, tiling.spare(tile, 0), tiling.spare(tile, 1)
        # Density of a distance d on the unit sphere: d^(dim - 2) (1 - d^2 / 4)^((dim - 3) / 2).
        torch.clamp(squared, self.nearest**2, 4 - 1e-4, out=weights)
        torch.mul(weights, -0.25, out=far).add_(1.0).log_().mul_((3 - dim) / 2)
        weights.log_().mul_((2 - dim) / 2).add_(far)
        # Zero within reach and -1 beyond; so far down, all that are beyond weigh the same.
        torch.sub(self.farthest**2, squared, out=far).sign_().clamp_(min=0).sub_(1.0)
        weights.add_(far, alpha=BEYOND)
        weights[:, tile.window].masked_fill_(tile.same, -torch.inf)
        weights.sub_(weights.amax(1, keepdim=True)).exp_()
        return torch.cumsum(weights, 1, out=weights)
