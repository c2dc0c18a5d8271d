"""Approximate indexes, which miss some of the nearest, for many queries."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

IndexKind: TypeAlias = Literal["exact", "ivf", "hnsw"]

LINKS = 32  # of each point to others, hnsw
SHARE_OF_LISTS = 1 / 16  # searched for a query, ivf
POINTS_PER_LIST = 64  # in the sample for k-means, ivf


def build_index(points: NDArray[np.float32], kind: IndexKind, seed: int) -> Any:
    """A faiss index over points [N, D]; the same each time.

    `ivf` searches a sixteenth of 4 sqrt(N) lists. `hnsw` follows 32 links a point; one thread
    builds it, because with more threads no two builds are the same.
    """
    dim = points.shape[1]
    index: Any  # faiss names no common type with these attributes
    if kind == "exact":
        index = faiss.IndexFlatL2(dim)
    elif kind == "ivf":
        lists = max(1, min(len(points) // POINTS_PER_LIST, round(4 * math.sqrt(len(points)))))
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dim), dim, lists, faiss.METRIC_L2)
        index.nprobe = max(1, round(lists * SHARE_OF_LISTS))
        index.cp.seed = seed
        index.cp.max_points_per_centroid = POINTS_PER_LIST
        index.train(points)
    else:
        index = faiss.IndexHNSWFlat(dim, LINKS)
        index.hnsw.rng = faiss.RandomGenerator(seed)  # type: ignore[attr-defined]
    threads = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1 if kind == "hnsw" else threads)
        index.add(points)
    finally:
        faiss.omp_set_num_threads(threads)
    return index


def search_index(index: Any, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The indices [Q, k] of the k nearest, nearest first; -1 for a miss."""
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = max(64, 2 * k)
    indices: NDArray[np.int64] = index.search(queries, k)[1]
    return indices
