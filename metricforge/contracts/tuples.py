"""The comparisons that a loss scores: pairs and triplets, listed or described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor


class Pairs(NamedTuple):
    """Comparisons of two images; `anchor` and `other` index into the batch.

    Shapes: three 1-D tensors of one length, int64, int64 and bool.
    """

    anchor: Tensor
    other: Tensor
    same: Tensor

    def listed(self, labels: Tensor) -> Pairs:
        """These pairs themselves; see :meth:`AllPairs.listed`."""
        return self


class Triplets(NamedTuple):
    """Comparisons of an anchor with a positive and a negative, 1-D int64 indices into the batch."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor

    def listed(self, labels: Tensor) -> Triplets:
        """These triplets themselves; see :meth:`AllTriplets.listed`."""
        return self


@dataclass(frozen=True)
class AllPairs:
    """Every pair of a batch from either side, described; one with a closed form never lists them.

    `anchors`: only the first so many images are anchors (None: all); see `Sampler.remember`.
    """

    anchors: int | None = None

    def listed(self, labels: Tensor) -> Pairs:
        """The pairs (a, o) with a != o of a batch with these labels [B]: B(B-1) of them if all."""
        import torch

        images = torch.arange(len(labels), device=labels.device)
        anchor, other = (images[: self.anchors, None] != images).nonzero().unbind(1)
        return Pairs(anchor, other, labels[anchor] == labels[other])


@dataclass(frozen=True)
class AllTriplets:
    """Every valid triplet of a batch, described; listing them takes O(B^3) memory.

    `anchors`: only the first so many images are anchors (None: all); see `Sampler.remember`.
    """

    anchors: int | None = None

    def listed(self, labels: Tensor) -> Triplets:
        """The triplets (a, p, n) with a != p, label(a) = label(p) != label(n); labels is [B]."""
        same = labels[: self.anchors, None] == labels[None, :]
        positive = same.clone().fill_diagonal_(False)
        valid = positive[:, :, None] & ~same[:, None, :]
        return Triplets(*valid.nonzero().unbind(1))


Tuples: TypeAlias = Pairs | Triplets | AllPairs | AllTriplets
TupleKind: TypeAlias = type[Pairs] | type[Triplets] | None
