"""Embeddings that are searched for the nearest, exactly or approximately."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation import IndexKind
from metricforge.evaluation.ann_index import build_index, search_index
from metricforge.evaluation.centring import middle
from metricforge.evaluation.flat_search import search_flat

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Points:
    """Embeddings float32 [N, D], N above 0.

    Args:
        rows: The embeddings.
        kind: "exact", or an approximate search that may miss some of the nearest.
    """

    rows: Floats
    kind: IndexKind = "exact"

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _index(self) -> Any:
        return build_index(self._shifted(self.rows), self.kind, seed=0)

    @cached_property
    def _exact(self) -> Points:
        return Points(self.rows)

    @cached_property
    def _middle(self) -> NDArray[np.float64]:
        return middle(self.rows)

    def _shifted(self, rows: Floats) -> Floats:
        """Rows as the index has them: an approximate one compares squares, which must be small."""
        if self.kind == "exact":
            return np.ascontiguousarray(rows)
        return np.ascontiguousarray(rows - self._middle, dtype=np.float32)

    def nearest(self, queries: Floats, k: int) -> Iterator[list[tuple[float, int]]]:
        """For each query [Q, D] the distances and indices of the k nearest, nearest first.

        Of an approximate search there may be fewer.
        """
        k = min(k, len(self.rows))
        if self.kind == "exact":
            yield from self._exactly(queries, k)
            return
        indices = search_index(self._index, self._shifted(queries), k)
        for query, found in zip(queries, indices, strict=True):
            # Where the lists that are searched are empty, all are.
            missed = not (found >= 0).any()
            yield from (
                self._exact.nearest(query[None], k)
                if missed
                else [self._measured(query, found[found >= 0])]
            )

    def _exactly(self, queries: Floats, k: int) -> Iterator[list[tuple[float, int]]]:
        squared, found = search_flat(self._index, queries, k)
        for row in zip(np.sqrt(squared.clip(min=0)).tolist(), found.tolist(), strict=True):
            yield list(zip(*row, strict=True))

    def _measured(self, query: Floats, found: NDArray[np.int64]) -> list[tuple[float, int]]:
        """Their distances in float64, since those of the index are rounded far from the origin."""
        apart = self.rows[found].astype(np.float64) - query
        distances = np.sqrt(np.einsum("kd,kd->k", apart, apart))
        order = np.argsort(distances, kind="stable")
        return list(zip(distances[order].tolist(), found[order].tolist(), strict=True))
