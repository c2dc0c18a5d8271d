"""Nearest neighbours by euclidean distance, in bounded memory.

Euclidean distance ranks unit-length embeddings exactly as cosine similarity does.
Shapes: N embeddings of D dimensions, Q queries in a tile, k neighbours of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation.ann_index import IndexKind, build_index, search_index
from metricforge.evaluation.centring import Floats, centred
from metricforge.evaluation.exact_search import deepest, each_part
from metricforge.evaluation.gpu_search import lowest, search_device
from metricforge.evaluation.subtraction import (
    distances_by_subtraction,
    nearest_by_subtraction,
    too_near,
    unordered,
)

Ints: TypeAlias = NDArray[np.int64]
T = TypeVar("T")

# About 100 MB: a neighbour takes 12 bytes in faiss and some 40 in the caller.
ENTRIES_PER_TILE = 2_000_000
QUERIES_PER_TILE = 4_096
# For each thread: what a caller computes of so many fits a core's cache.
DEEP_ENTRIES_PER_TILE = 2**18
# Beyond so many neighbours faiss takes longer than sorting the nearest.
DEEP = 256
NOBODY = -1


def neighbours(embeddings: Floats, k: int, *, seed: int = 0) -> Iterator[tuple[Ints, Ints]]:
    """The k nearest others of every embedding, nearest first, one tile of queries at a time.

    A tile holds fewer queries the larger k is. See :class:`Gallery`.

    Args:
        embeddings: [N, D].
        k: Neighbours of each.
        seed: Order of exact ties.

    Returns:
        Pairs of rows [Q], in order, and the rows of their neighbours [Q, min(k, N-1)].
    """
    gallery = Gallery(embeddings, seed=seed)
    rows = np.arange(len(embeddings))
    return gallery.nearest(rows, k, lambda part, nearest: (part, nearest))


class Gallery:
    """Embeddings to search, exactly unless `kind` is another.

    An image is never its own neighbour, even among exact duplicates: it is removed by its index.
    Exact ties are ordered by `seed`, not by the order of the embeddings. Raises DivergedError for
    NaN or infinite embeddings.
    """

    def __init__(
        self,
        embeddings: Floats,
        members: Ints | None = None,
        *,
        kind: IndexKind = "exact",
        seed: int = 0,
    ) -> None:
        """Build the gallery.

        Args:
            embeddings: [N, D], those of the queries included.
            members: Rows [G] that can be retrieved. Default: all.
            kind: A kind other than "exact" misses some of the nearest: see :func:`build_index`.
            seed: Order of exact ties, and of the index.
        """
        self.kind, self.seed = kind, seed
        self._embeddings = np.asarray(embeddings, dtype=np.float32)
        self.points = centred(embeddings)
        rows = np.arange(len(self.points)) if members is None else np.unique(members)
        # Searches keep the earlier of two equal distances. Data is usually ordered by class, so in
        # its own order a model that maps all images to one point would retrieve its own class. In a
        # shuffled gallery a tie goes to any class in proportion to its size: a collapsed model
        # scores chance.
        self.rows: Ints = np.random.default_rng(seed).permutation(rows)
        """The row at each index of the gallery [G]."""
        self.place: Ints = np.full(len(self.points), -1)
        """The index in the gallery of each row [N], -1 for one that is not a member."""
        self.place[self.rows] = np.arange(len(self.rows))
        self._shown = self.points[self.rows]

    def nearest(self, queries: Ints, k: int, then: Callable[[Ints, Ints], T]) -> Iterator[T]:
        """Apply `then` to the nearest others of some rows, tile by tile in the order of `queries`.

        A tile holds fewer queries the larger k is.

        Args:
            queries: Rows [M].
            k: Neighbours of each.
            then: Called with rows [Q] and the rows of their K nearest others [Q, K], nearest first,
                maybe in threads. K is k, or the number of others; if that is one less for some
                queries, because they are in the gallery themselves, it is for all. -1 is one that
                an index that is not exact did not find.

        Returns:
            The results of `then`.
        """
        if len(queries) == 0:
            return iter(())
        k = self._depth(queries, k)
        if self.kind != "exact" or k == 0:
            return (then(*tile) for tile in self._shallow(queries, k))
        if k > DEEP or search_device() is not None:
            return self.nearest_exactly(queries, k, then)
        return (then(rows, self._ordered(rows, found)) for rows, found in self._shallow(queries, k))

    def nearest_exactly(
        self, queries: Ints, k: int, then: Callable[[Ints, Ints], T]
    ) -> Iterator[T]:
        """As :meth:`nearest`, but exact for any index."""
        k = self._depth(queries, k)
        points, own = self.points[queries], self.place[queries]

        def apply(part: slice, indices: Ints) -> T:
            rows = queries[part]
            return then(rows, self._ordered(rows, self.rows[indices]))

        device = search_device()
        if device is not None:
            return lowest(device, points, own, self._shown, k, apply, _most(k + 1))
        most = max(1, DEEP_ENTRIES_PER_TILE // max(1, k))
        return deepest(points, own, self._shown, k, apply, most)

    def _ordered(self, queries: Ints, nearest: Ints) -> Ints:
        """The nearest rows [Q, K] that products found, or by subtraction where these can't tell."""
        again = np.flatnonzero(unordered(self.points, self._embeddings, queries, nearest))
        if len(again):
            own, given = self.place[queries[again]], self._embeddings[queries[again]]
            indices = nearest_by_subtraction(given, own, self._given, nearest.shape[1])
            nearest[again] = self.rows[indices]
        return nearest

    def _depth(self, queries: Ints, k: int) -> int:
        """k, or the number of others if that is less."""
        return min(k, len(self.rows) - int((self.place[queries] >= 0).any()))

    def _shallow(self, queries: Ints, k: int) -> Iterator[tuple[Ints, Ints]]:
        # faiss's -1 is a miss; as an index into the rows it would mean the last of them.
        rows = np.append(self.rows, NOBODY)
        for part in _tiles(queries, k + 1):
            indices = search_index(self._index, self.points[part], min(k + 1, len(self.rows)))
            assert self.kind != "exact" or (indices >= 0).all(), "a finite query found too few"
            yield part, _without_self(rows[indices], part, k)

    @cached_property
    def _index(self) -> Any:
        return build_index(self._shown, self.kind, self.seed)

    @cached_property
    def _given(self) -> Floats:
        """The embeddings [G, D] of the gallery as they are: to move them may round them."""
        return self._embeddings[self.rows]

    def found_share(self, queries: Ints, k: int) -> float:
        """The fraction of the k nearest that an index that is not exact finds.

        Args:
            queries: Rows [Q].
            k: Neighbours of each.

        Returns:
            The mean over the queries, 0 to 1.
        """
        exact = self.nearest_exactly(queries, k, lambda part, retrieved: retrieved)
        approximate = self.nearest(queries, k, lambda part, retrieved: retrieved)
        pairs = zip(np.concatenate(list(approximate)), np.concatenate(list(exact)), strict=True)
        return float(np.mean([np.isin(true, retrieved).mean() for retrieved, true in pairs]))

    def rank_of_first(self, queries: Ints, labels: Ints) -> Ints:
        """The rank, from 1, of the nearest other of a query's class.

        Args:
            queries: Rows [Q], each with another member of its class.
            labels: int64 [N].

        Returns:
            int64 [Q].
        """
        gallery_labels = labels[self.rows]
        by_class = np.argsort(gallery_labels, kind="stable")
        ordered = gallery_labels[by_class]
        first = np.searchsorted(ordered, labels[queries], side="left")
        beyond = np.searchsorted(ordered, labels[queries], side="right")

        points, own = self.points[queries], self.place[queries]
        lengths = np.square(points).sum(axis=1)

        def ranks(part: slice, products: NDArray[np.float32]) -> Ints:
            found = []
            for index, row in zip(range(len(queries))[part], products, strict=True):
                members = by_class[first[index] : beyond[index]]
                if too_near(row[members].min() + lengths[index], lengths[index]):
                    one = slice(index, index + 1)
                    given = self._embeddings[queries[one]]
                    (row,) = distances_by_subtraction(given, own[one], self._given)
                found.append(_rank(row, members))
            return np.array(found)

        parts = each_part(points, own, self._shown, ranks)
        return np.concatenate([*parts, np.zeros(0, dtype=np.int64)])


def _rank(distances: NDArray[np.float32], members: Ints) -> int:
    """The rank of the nearest of `members`; equal distances rank by index."""
    among = distances[members]
    nearest = among.min()
    before = members[among == nearest].min()
    return 1 + int((distances < nearest).sum() + (distances[:before] == nearest).sum())


def _tiles(queries: Ints, k: int) -> Iterator[Ints]:
    step = _most(k)
    for start in range(0, len(queries), step):
        yield queries[start : start + step]


def _most(k: int) -> int:
    """The most queries whose k neighbours are in memory at a time."""
    return max(1, min(QUERIES_PER_TILE, ENTRIES_PER_TILE // max(1, k)))


def _without_self(results: Ints, rows: Ints, k: int) -> Ints:
    """The first k results of each row without itself, which may be absent among duplicates."""
    keep = results != rows[:, None]
    if results.shape[1] > k:
        keep[keep.all(axis=1), -1] = False
    return np.asarray(results[keep].reshape(len(rows), -1))
