"""Searching a flat index of faiss, whose distances are as exact for many queries as for one."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation.centring import needs_float64

# Fewer queries than faiss.cvar.distance_compute_blas_threshold.
SUBTRACTED = 16


def search_flat(
    index: Any, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The squared distances and indices [Q, k] of the k nearest of queries [Q, D] in a flat index.

    faiss subtracts two rows where it has few queries, and expands |x - y|^2 where it has many: so
    it gets few at a time where that would lose the distances that matter.
    """
    step = SUBTRACTED if len(queries) > SUBTRACTED and _is_coarse(index) else len(queries)
    starts = range(0, len(queries), max(step, 1))
    parts = [index.search(queries[start : start + step], k) for start in starts]
    distances, indices = (np.concatenate(part) for part in zip(*parts, strict=True))
    return distances, indices


def _is_coarse(index: Any) -> bool:
    """Whether float32 is too coarse for |x - y|^2 of the index's rows, where they lie."""
    stored: NDArray[np.float32] = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    with np.errstate(invalid="ignore", over="ignore"):
        return needs_float64(stored.reshape(index.ntotal, index.d))
