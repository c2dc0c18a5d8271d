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
from metricforge.evaluation.centring import Floats, centred, middle, needs_float64
from metricforge.evaluation.exact_search import deepest, each_part
from metricforge.evaluation.gpu_search import lowest, search_device

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
        self._embeddings = embeddings
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
        exact = self.kind == "exact" and k > 0
        if exact and (k > DEEP or search_device() is not None or self._wide):
            return self.nearest_exactly(queries, k, then)
        return (then(*tile) for tile in self._shallow(queries, k))

    def nearest_exactly(
        self, queries: Ints, k: int, then: Callable[[Ints, Ints], T]
    ) -> Iterator[T]:
        """As :meth:`nearest`, but exact for any index."""
        k = self._depth(queries, k)
        own = self.place[queries]

        def apply(part: slice, indices: Ints) -> T:
            return then(queries[part], self.rows[indices])

        device = search_device()
        if device is not None and not self._wide:
            points = self.points[queries]
            return lowest(device, points, own, self._shown, k, apply, _most(k + 1))
        most = max(1, DEEP_ENTRIES_PER_TILE // max(1, k))
        points, gallery = self._exact_points
        return deepest(points[queries], own, gallery, k, apply, most, wide=self._wide)

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
    def _wide(self) -> bool:
        """Whether float32 products would lose the distances that matter."""
        return needs_float64(self._shown)

    @cached_property
    def _exact_points(self) -> tuple[Floats, Floats]:
        """The rows [N, D] and the gallery [G, D] as an exact search takes them."""
        if not self._wide:
            return self.points, self._shown
        # Moved in float64: the middle of rows that are far apart is far from each of them.
        rows = np.asarray(self._embeddings, dtype=np.float32).astype(np.float64)
        rows -= middle(rows)
        return rows, rows[self.rows]

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

        def ranks(part: slice, distances: NDArray[np.float32]) -> Ints:
            rows = zip(distances, first[part], beyond[part], strict=True)
            return np.array([_rank(row, by_class[a:b]) for row, a, b in rows])

        points, gallery = self._exact_points
        own = self.place[queries]
        parts = each_part(points[queries], own, gallery, ranks, wide=self._wide)
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
