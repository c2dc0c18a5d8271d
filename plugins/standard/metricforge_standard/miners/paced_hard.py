"""The miner `paced-hard`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import ChosenTriplets, Tiling, hardest, nearest_beyond


class PacedHard:
    """The hardest triplets that a network can learn from by now: semi-hard first, then hard.

    For each anchor its farthest positive and its nearest negative, as `batch-hard` (Hermans 2017).
    An anchor is violated if that negative is no farther than that positive. While more than the
    fraction `above` of a batch's anchors are violated, these take the nearest negative beyond their
    positive (Schroff 2015), or none. The reason: for a young network the nearest negative is
    chance, and pulls all embeddings onto one point.

    Embeddings [B, D] and labels [B] to at most B triplets. Distances are euclidean; memory is
    O(tile x B).

    Args:
        above: Fraction of violated anchors, 0 to 1, above which their negatives are semi-hard; 1:
            always as batch-hard.

    Reference: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
        Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering, 2015.
    """

    kind = Triplets

    def __init__(self, *, above: float = 0.5) -> None:
        if not 0 <= above <= 1:
            raise UsageError(f"paced-hard needs above from 0 to 1, not {above}.")
        self.above = above

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        tiling = Tiling(embeddings, labels)
        chosen = ChosenTriplets(tiling)
        positive, negative = hardest(tiling)
        apart = _squared(tiling.rows, positive)
        classes = tiling.classes
        both = (classes.positives(tiling.anchors) > 0) & (classes.negatives(tiling.anchors) > 0)
        compared = torch.from_numpy(both).to(apart.device)
        violated = compared & (_squared(tiling.rows, negative) <= apart)
        # No difference of two counts is rounded: exactly half is not above a half.
        if int(violated.sum()) <= self.above * int(compared.sum()):
            chosen.add_one_each(tiling.anchors, positive, negative)
            return chosen.triplets()
        for tile in tiling.squared_distances():
            tile.hide_same(torch.inf)
            own = tile.own
            # Where none is nearer than the positive, the nearest beyond it is the nearest of all.
            beyond, valid = nearest_beyond(
                tile.values, tiling.surely_beyond(tile, apart[own, None]), tiling.spare(tile)
            )
            chosen.add(tile, positive[own, None], beyond, compared[own, None] & valid)
        return chosen.triplets()


def _squared(rows: Tensor, other: Tensor) -> Tensor:
    """Squared distances [B] of each of rows [B, D] to another."""
    return (rows - rows[other]).square().sum(1)
