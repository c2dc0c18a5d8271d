"""The comparisons that a loss scores: pairs and triplets, listed or described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor


class Pairs(NamedTuple):
    """Comparisons of two images.

    Args:
        anchor: int64 [M], indices into the batch.
        other: int64 [M], indices into the batch.
        same: bool [M], whether the two are of one class.
    """

    anchor: Tensor
    other: Tensor
    same: Tensor

    def listed(self, labels: Tensor) -> Pairs:
        """Return these pairs; see :meth:`AllPairs.listed`."""
        return self


class Triplets(NamedTuple):
    """Comparisons of an anchor with a positive and a negative.

    Args:
        anchor: int64 [M], indices into the batch.
        positive: int64 [M], indices of other images of the anchor's class.
        negative: int64 [M], indices of images of other classes.
    """

    anchor: Tensor
    positive: Tensor
    negative: Tensor

    def listed(self, labels: Tensor) -> Triplets:
        """Return these triplets; see :meth:`AllTriplets.listed`."""
        return self


@dataclass(frozen=True)
class AllPairs:
    """Every pair of a batch from either side, described; a loss with a closed form lists none.

    Args:
        anchors: Only the first so many images are anchors (None: all); see `Sampler.remember`.
    """

    anchors: int | None = None

    def listed(self, labels: Tensor) -> Pairs:
        """List the pairs (a, o) with a != o.

        Args:
            labels: int64 [B].

        Returns:
            The pairs, B(B-1) of them if all images are anchors.
        """
        import torch

        images = torch.arange(len(labels), device=labels.device)
        anchor, other = (images[: self.anchors, None] != images).nonzero().unbind(1)
        return Pairs(anchor, other, labels[anchor] == labels[other])


@dataclass(frozen=True)
class AllTriplets:
    """Every valid triplet of a batch, described; listing them takes O(B^3) memory.

    Args:
        anchors: Only the first so many images are anchors (None: all); see `Sampler.remember`.
    """

    anchors: int | None = None

    def listed(self, labels: Tensor) -> Triplets:
        """List the triplets (a, p, n) with a != p, label(a) = label(p) != label(n).

        Args:
            labels: int64 [B].

        Returns:
            The triplets.
        """
        same = labels[: self.anchors, None] == labels[None, :]
        positive = same.clone().fill_diagonal_(False)
        valid = positive[:, :, None] & ~same[:, None, :]
        return Triplets(*valid.nonzero().unbind(1))


Tuples: TypeAlias = Pairs | Triplets | AllPairs | AllTriplets
TupleKind: TypeAlias = type[Pairs] | type[Triplets] | None
