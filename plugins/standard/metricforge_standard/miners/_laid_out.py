"""The miners of samplers that have chosen their tuples already and laid them out in the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Pairs, Triplets


class LaidOutPairs:
    """Names the places of pairs laid out as [a1, b1, a2, b2, ...]; labels [B] say which agree."""

    kind = Pairs

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Pairs:
        place = torch.arange(len(labels), device=labels.device)
        return Pairs(place[0::2], place[1::2], labels[0::2] == labels[1::2])


class LaidOutTriplets:
    """Names the places of triplets laid out as [a1, p1, n1, a2, p2, n2, ...]."""

    kind = Triplets

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        place = torch.arange(len(labels), device=labels.device)
        return Triplets(place[0::3], place[1::3], place[2::3])
