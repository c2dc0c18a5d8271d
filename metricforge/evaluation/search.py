"""Exact nearest neighbours by euclidean distance, in bounded memory.

Euclidean distance ranks unit-length embeddings exactly as cosine similarity does.
Shapes: N embeddings of D dimensions, Q queries in a tile, k neighbours of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from metricforge.errors import DivergedError
from metricforge.evaluation.deep import deepest

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.int64]

# About 100 MB: a neighbour costs 12 bytes in faiss and some 40 in what is made of it.
ENTRIES_PER_TILE = 2_000_000
QUERIES_PER_TILE = 4_096
# Beyond so many neighbours faiss takes longer than sorting what is near.
DEEP = 256


def neighbours(embeddings: Floats, k: int, *, seed: int = 0) -> Iterator[tuple[Ints, Ints]]:
    """The k nearest others of every embedding, nearest first, one tile of queries at a time.

    Embeddings [N, D] give pairs of rows [Q], in order, and their neighbours [Q, min(k, N-1)];
    a tile holds fewer queries the larger k is. An image is never its own neighbour, even
    among exact duplicates: it is removed by its index. `seed` orders exact ties.
    Raises DivergedError for NaN or infinite embeddings.
    """
    points = centred(embeddings)
    count = len(points)
    # Searches keep the earlier of two equal distances. Data usually lies class by class, so in
    # its own order a model that maps all images to one point would find its own class. A
    # shuffled gallery makes a tie go to any class by its share: a collapsed model scores chance.
    order = np.random.default_rng(seed).permutation(count)
    start = 0
    for places in _places(points, points[order], min(k + 1, count)):
        rows = np.arange(start, start + len(places))
        start += len(places)
        yield rows, _others(order[places], rows)


def _places(queries: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> Iterator[Ints]:
    """The places of the k nearest, tile by tile [Q, k]."""
    step = max(1, min(QUERIES_PER_TILE, ENTRIES_PER_TILE // max(1, k)))
    if k > DEEP:
        for found in deepest(queries, gallery, k):
            yield from np.array_split(found, -(-len(found) // step))
        return
    index = faiss.IndexFlatL2(queries.shape[1])
    index.add(gallery)
    for start in range(0, len(queries), step):
        _, places = index.search(queries[start : start + step], k)
        # -1 means "none found"; as an index it would silently name the last image.
        assert (places >= 0).all(), "a finite query found too few neighbours"
        yield places


def _others(found: Ints, rows: Ints) -> Ints:
    """Drop each row's own index from what it found; among many duplicates it may be absent."""
    keep = found != rows[:, None]
    keep[keep.all(axis=1), -1] = False
    return np.asarray(found[keep].reshape(len(rows), -1))


def centred(embeddings: Floats) -> NDArray[np.float32]:
    """Embeddings [N, D] float32, moved and scaled to a mean near 0 and a size near 1.

    Neither changes which of two distances is larger, and both keep precision: faiss expands
    |x - y|^2, which loses the digits of a small distance far from the origin and overflows for
    large embeddings (a neighbour is then lost without a word). Equal rows stay equal.
    Raises DivergedError, with the first such rows, for NaN or infinity.
    """
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    _refuse_not_finite(points)
    if points.size == 0:
        return points
    points = _sized(points)
    return _sized(points - points.mean(axis=0, dtype=np.float64).astype(np.float32))


def _sized(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points divided by a power of two, which rounds nothing, so that the largest is near 1."""
    _, exponent = np.frexp(np.abs(points).max())
    sized: NDArray[np.float32] = np.ldexp(points, -exponent)
    return sized


def _refuse_not_finite(points: NDArray[np.float32]) -> None:
    rows = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(rows):
        shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise DivergedError(
            f"{len(rows)} of {len(points)} embeddings are NaN or infinite (rows {shown}): "
            "the model has diverged; train it with a smaller learning rate or in float32."
        )
