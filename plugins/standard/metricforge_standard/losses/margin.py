"""The loss `margin`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metricforge.contracts import AllTriplets, Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import distances


class Margin(nn.Module):
    """Positives nearer than beta - margin, negatives farther than beta + margin (Wu 2017).

    The sum over triplets of max(0, d(a, p) - beta + margin) + max(0, beta - d(a, n) + margin),
    divided by how many of these terms are above zero; d is the euclidean distance. beta, a
    boundary between near and far for all classes, is learned (`learn`) from where it starts. No
    triplets give zero, with a graph.
    """

    accepts = (Triplets,)

    def __init__(self, *, margin: float = 0.2, beta: float = 1.2, learn: bool = True) -> None:
        super().__init__()
        if margin <= 0 or beta <= 0:
            raise UsageError("margin needs margin > 0 and beta > 0.")
        self.margin = margin
        self.beta = nn.Parameter(torch.tensor(float(beta)), requires_grad=learn)
        self.active: Tensor | None = None

    def forward(self, embeddings: Tensor, labels: Tensor, tuples: Triplets | AllTriplets) -> Tensor:
        triplets = tuples.listed(labels)
        near = distances(embeddings, triplets.anchor, triplets.positive)
        far = distances(embeddings, triplets.anchor, triplets.negative)
        inside, outside = near - self.beta + self.margin, self.beta - far + self.margin
        counted = (inside.detach() > 0).sum() + (outside.detach() > 0).sum()
        self.active = ((inside.detach() > 0) | (outside.detach() > 0)).sum()
        loss = inside.clamp(min=0).sum() + outside.clamp(min=0).sum()
        return (loss + embeddings.sum() * 0.0) / counted.clamp(min=1)
