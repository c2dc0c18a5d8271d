"""The miners of samplers that choose their tuples themselves and arrange them in the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Pairs, Triplets


class LaidOutPairs:
    """Returns the indices of pairs arranged as [a1, b1, a2, b2, ...], with `same` by labels [B]."""

    kind = Pairs

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Pairs:
        indices = torch.arange(len(labels), device=labels.device)
        return Pairs(indices[0::2], indices[1::2], labels[0::2] == labels[1::2])


class LaidOutTriplets:
    """Returns the indices of triplets arranged as [a1, p1, n1, a2, p2, n2, ...]."""

    kind = Triplets

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        indices = torch.arange(len(labels), device=labels.device)
        return Triplets(indices[0::3], indices[1::3], indices[2::3])
