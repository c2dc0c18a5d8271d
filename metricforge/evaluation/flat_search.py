"""Searching a flat index of faiss, whose distances are as exact for many queries as for one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation.subtraction import too_near

# Fewer queries than faiss.cvar.distance_compute_blas_threshold.
SUBTRACTED = 16


def search_flat(
    index: Any, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The squared distances and indices [Q, k] of the k nearest of queries [Q, D] in a flat index.

    faiss subtracts two rows where it has few queries, and takes products where it has many: so
    queries whose nearest is too near for products are asked again, few at a time.
    """
    distances, indices = index.search(queries, k)
    if len(queries) <= SUBTRACTED:
        return distances, indices
    with np.errstate(over="ignore", invalid="ignore"):
        lost = too_near(distances[:, 0], np.square(queries).sum(axis=1))
    again = np.flatnonzero(lost)
    for start in range(0, len(again), SUBTRACTED):
        few = again[start : start + SUBTRACTED]
        distances[few], indices[few] = index.search(queries[few], k)
    return distances, indices
