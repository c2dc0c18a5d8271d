"""The loss `contrastive`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import AllPairs, Pairs
from metricforge.errors import UsageError
from metricforge_standard.losses.distance import euclidean


class Contrastive:
    """Pulls pairs of a class together and pushes others beyond a margin (Hadsell 2006).

    The mean over pairs of d^2 / 2 for a pair of one class and max(0, margin - d)^2 / 2 for
    another, with d the euclidean distance. No pairs give zero, with a graph.
    """

    accepts = (Pairs,)

    def __init__(self, *, margin: float = 1.0) -> None:
        if margin <= 0:
            raise UsageError("contrastive needs margin > 0.")
        self.margin = margin

    def __call__(self, embeddings: Tensor, labels: Tensor, tuples: Pairs | AllPairs) -> Tensor:
        pairs = tuples.listed(labels)
        if len(pairs.anchor) == 0:
            return embeddings.sum() * 0.0
        distance = euclidean(embeddings[pairs.anchor], embeddings[pairs.other])
        apart = (self.margin - distance).clamp(min=0)
        return torch.where(pairs.same, distance, apart).square().mean() / 2
