"""The loss `nested`."""

from __future__ import annotations

import itertools
import math
from typing import Any

from torch import Tensor, nn

from metricforge.contracts import Build, InnerSpec, Loss, Pairs, Triplets, TupleKind, Tuples
from metricforge.errors import UsageError
from metricforge.pairwise import unit_rows

SMALLEST = 8
"""No size is below this by default."""


class Nested(nn.Module):
    """One loss of the embedding and of its first dimensions, so that these serve alone.

    The mean of the loss `of` over the whole embedding and the first 8, 16, 32, ... dimensions of
    it, each scaled to unit length. All compare the tuples that the miner chose by the whole
    embedding. A loss that learns, e.g. proxies, learns apart for each size.

    Which tuples are active is not counted.

    `metricforge shrink` cuts the embedding of a trained model down to its first dimensions.

    Args:
        dim: D, the dimensions of an embedding.
        of: Spec of the loss.
        dims: Sizes below D, ascending; none: D / 2, D / 4 and so on down to 8.
        weights: Factors of the sizes, above 0, and at last that of the whole; none: each is 1.
        normalize: Whether the first dimensions are scaled to unit length, as the embedding is.

    Reference: Kusupati et al., Matryoshka Representation Learning, 2022.
    """

    def __init__(
        self,
        dim: int,
        build: Build[Loss],
        *,
        of: InnerSpec = "multi-similarity",
        dims: tuple[int, ...] | None = None,
        weights: tuple[float, ...] | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if dim < 2:
            raise UsageError("nested needs an embedding of two dimensions or more.")
        sizes = _halves(dim) if dims is None else dims
        ascending = all(a < b for a, b in itertools.pairwise((0, *sizes, dim)))
        if not sizes or not ascending:
            raise UsageError(
                f"nested needs ascending dims below the {dim} of the embedding, as 8+16+32."
            )
        self.dims, self.normalize = (*sizes, dim), normalize
        self.weights = (1.0,) * len(self.dims) if weights is None else weights
        above = all(0 < weight < math.inf for weight in self.weights)
        if len(self.weights) != len(self.dims) or not above:
            raise UsageError(
                f"nested needs weights of {len(self.dims)} numbers above 0, the last for the whole."
            )
        self._each: list[Any] = [build(of, dim=size) for size in self.dims]
        # Those with parameters.
        self.learning = nn.ModuleList(each for each in self._each if isinstance(each, nn.Module))
        whole = self._each[-1]
        every = (None, Pairs, Triplets)
        self.accepts: tuple[TupleKind, ...] = getattr(whole, "accepts", every)
        self.margin: float | None = getattr(whole, "margin", None)

    def forward(self, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Tensor:
        total = embeddings.new_zeros(())
        for size, weight, loss in zip(self.dims, self.weights, self._each, strict=True):
            total = total + weight * loss(self._first(embeddings, size), labels, tuples)
        return total / sum(self.weights)

    def _first(self, embeddings: Tensor, size: int) -> Tensor:
        if size == self.dims[-1]:
            return embeddings
        first = embeddings[:, :size]
        return unit_rows(first) if self.normalize else first


def _halves(dim: int) -> tuple[int, ...]:
    """The halves of D, of those and so on, down to SMALLEST, ascending; one at least."""
    sizes = [dim // 2]
    while sizes[0] // 2 >= SMALLEST:
        sizes.insert(0, sizes[0] // 2)
    return tuple(sizes)
