"""The nearest of many when k is in the thousands, where a heap or a full sort would take long.

A tile of distances is one matrix product. Of a row, a sample says below which distance the k
nearest surely lie, and only what is below is sorted. Shapes: N in the gallery, Q queries in a tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

# Distances in a tile, 64 MB.
ENTRIES_PER_TILE = 2**24
# One of so many distances is in the sample.
STRIDE = 16
LOW = np.int64(2**32 - 1)


def deepest(queries: Floats, gallery: Floats, k: int) -> Iterator[Ints]:
    """The places of the k nearest of gallery [N, D] for queries [M, D], nearest first: [Q, k].

    1 <= k <= N. Tile by tile, in order; of two at the same distance the earlier comes first.
    """
    known = torch.from_numpy(gallery)
    norms = torch.linalg.vecdot(known, known)
    step = max(1, ENTRIES_PER_TILE // len(gallery))
    threads = max(1, torch.get_num_threads())
    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(queries), step):
            rows = torch.from_numpy(queries[begin : begin + step])
            squared = torch.addmm(norms, rows, known.T, alpha=-2)
            squared.add_(torch.linalg.vecdot(rows, rows)[:, None]).clamp_(min=0)
            parts = np.array_split(squared.numpy(), threads)
            found = pool.map(lambda part: [nearest_in(row, k) for row in part], parts)
            yield np.array([row for part in found for row in part])


def nearest_in(distances: NDArray[Any], k: int) -> Ints:
    """The places of the k lowest of distances [N] float32, none below zero, lowest first."""
    near = np.flatnonzero(distances <= _enough(distances, k))
    if len(near) < k:
        near = np.arange(len(distances))
    # The bits of floats from zero up are ordered as they are; the place makes each key its own.
    keys = distances[near].view(np.int32).astype(np.int64) << 32 | near
    if len(keys) > 2 * k:
        keys = np.partition(keys, k - 1)[:k]
    keys.sort()
    return keys[:k] & LOW


def _enough(distances: NDArray[Any], k: int) -> float:
    """A distance that most likely has at least k below it: a quantile of a sample, and some."""
    sample = distances[::STRIDE]
    expected = k / STRIDE
    place = math.ceil(expected + 4 * math.sqrt(expected) + 4)
    return float(np.partition(sample, place)[place]) if place < len(sample) else math.inf
