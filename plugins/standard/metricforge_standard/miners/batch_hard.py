"""The miner `batch-hard`."""

from __future__ import annotations

from torch import Tensor

from metricforge.contracts import Triplets
from metricforge.pairwise import ChosenTriplets, Tiling, hardest


class BatchHard:
    """For each anchor its farthest positive and its nearest negative in the batch (Hermans 2017).

    Embeddings [B, D] and labels [B] to at most B triplets: an anchor without a positive or without
    a negative in the batch has none. Distances are euclidean; memory is O(tile x B).

    Reference: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
    """

    kind = Triplets

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        tiling = Tiling(embeddings, labels)
        chosen = ChosenTriplets(tiling)
        chosen.add_one_each(tiling.anchors, *hardest(tiling))
        return chosen.triplets()
