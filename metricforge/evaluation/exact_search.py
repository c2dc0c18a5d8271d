"""All distances of a query at once: for k in the thousands, and for ranks beyond k.

A tile of distances is one matrix product. For a large k a heap or a full sort takes long. So a
sample of a row gives a threshold above the k nearest, and only the distances below it are sorted.
Shapes: M queries, Q of them in a part of a tile, N in the gallery.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
T = TypeVar("T")

# Distances in a tile, 64 MB.
ENTRIES_PER_TILE = 2**24
# The sample has one of so many distances.
STRIDE = 16
LOW = np.int64(2**32 - 1)
RADIX_BITS = 16


def each_part(
    queries: Floats,
    own: Ints,
    gallery: Floats,
    then: Callable[[slice, Floats], T],
    most: int | None = None,
) -> Iterator[T]:
    """The results of `then` on distances [Q, N], in the order of the queries.

    `then` gets the slice of at most `most` queries [M, D] and, for each, |y|^2 - 2 x.y for every y
    of gallery [N, D]: it ranks them, and is less than the squared distance by |x|^2. It is infinite
    at the index `own` [M] of a query that is in the gallery itself (-1: it is not). `then` is
    called in threads, and the distances are invalid after it.
    """
    # With |y|^2 as one more dimension there is no pass over the tile to add it.
    known = torch.from_numpy(np.c_[gallery, np.square(gallery).sum(axis=1)])
    step = max(1, min(len(queries), ENTRIES_PER_TILE // max(1, len(gallery))))
    # One tile for all: a new one has a page fault for each page, which takes twice the product.
    tile = torch.empty(step, len(gallery))
    threads = max(1, torch.get_num_threads())

    def part_of(part: slice, distances: Floats) -> T:
        inside = np.flatnonzero(own[part] >= 0)
        distances[inside, own[part][inside]] = np.inf
        return then(part, distances)

    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(queries), step):
            some = queries[begin : begin + step]
            rows = torch.from_numpy(np.c_[-2 * some, np.ones(len(some), dtype=np.float32)])
            torch.mm(rows, known.T, out=tile[: len(some)])
            products = tile[: len(some)].numpy()
            size = max(1, min(-(-len(some) // threads), most or len(some)))
            cuts = range(0, len(some), size)
            parts = [slice(begin + cut, begin + min(cut + size, len(some))) for cut in cuts]
            yield from pool.map(part_of, parts, np.split(products, cuts[1:]))


def deepest(
    queries: Floats,
    own: Ints,
    gallery: Floats,
    k: int,
    then: Callable[[slice, Ints], T],
    most: int | None = None,
) -> Iterator[T]:
    """The results of `then` on indices [Q, k] of the k nearest of gallery [N, D], nearest first.

    1 <= k <= N, less one for a query at an index `own` [M] in it. Of two at the same distance the
    earlier comes first. See :func:`each_part` for `then`.
    """
    norms = np.square(queries).sum(axis=1)

    def nearest(part: slice, distances: Floats) -> T:
        rows = zip(distances, norms[part], strict=True)
        return then(part, np.array([nearest_in(row, k, norm) for row, norm in rows]))

    return each_part(queries, own, gallery, nearest, most)


def nearest_in(distances: NDArray[Any], k: int, norm: float = 0.0) -> Ints:
    """The indices of the k lowest of distances [N] float32, lowest first.

    `norm` is added to those that matter; below zero they count as zero.
    """
    near = np.flatnonzero(distances <= _enough(distances, k))
    if len(near) < k:
        near = np.arange(len(distances))
    values = np.maximum(distances[near] + np.float32(norm), 0)
    # The bits of floats from zero up have the order of the floats; the index makes each key unique.
    bits = values.view(np.int32).astype(np.int64)
    keys = bits << 32 | near
    if len(keys) > 2 * k:
        keys = np.partition(keys, k - 1)[:k]
        bits = keys >> 32
    keys = keys[_roughly_sorted(bits)]
    keys.sort(kind="stable")
    return keys[:k] & LOW


def _roughly_sorted(bits: Ints) -> Ints:
    """An order of bits [K] by their highest 16: a radix sort, which leaves little to a merge sort.

    Together they take a third of the time of a quicksort.
    """
    low = bits.min()
    shift = max(0, int(bits.max() - low).bit_length() - RADIX_BITS)
    return np.argsort(((bits - low) >> shift).astype(np.uint16), kind="stable")


def _enough(distances: NDArray[Any], k: int) -> float:
    """A threshold with most likely k distances below it: a quantile of a sample, plus a reserve."""
    sample = distances[::STRIDE]
    expected = k / STRIDE
    position = math.ceil(expected + 4 * math.sqrt(expected) + 4)
    return float(np.partition(sample, position)[position]) if position < len(sample) else math.inf
