"""The miner `batch-hard`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Triplets


class BatchHard:
    """For each anchor its farthest positive and its nearest negative in the batch (Hermans 2017).

    Embeddings [B, D] and labels [B] to at most B triplets: an anchor without a positive or
    without a negative in the batch has none. Distances are euclidean.
    """

    kind = Triplets

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        if len(labels) == 0:
            return Triplets(labels, labels, labels)
        # An image is of its own class, and must be neither its positive nor its negative.
        distances = squared_distances(embeddings).fill_diagonal_(-torch.inf)
        same = labels[:, None] == labels[None, :]
        farthest = distances.masked_fill(~same, -torch.inf).argmax(1)
        nearest = distances.masked_fill(same, torch.inf).argmin(1)
        alike = same.sum(1)
        anchor = ((alike > 1) & (alike < len(labels))).nonzero().squeeze(1)
        return Triplets(anchor, farthest[anchor], nearest[anchor])


def squared_distances(embeddings: Tensor) -> Tensor:
    """Squared euclidean distances [B, B] of all rows [B, D], by one matrix product.

    The product cancels where two rows almost coincide: good for ranking, while the loss
    computes the distances of the chosen tuples from their difference. Half precision is
    widened, since the cancellation would eat all of its digits.
    """
    rows = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    norms = rows.square().sum(1)
    return torch.addmm(norms[:, None] + norms[None, :], rows, rows.T, alpha=-2)
