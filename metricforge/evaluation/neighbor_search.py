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

from metricforge.errors import DivergedError, few
from metricforge.evaluation.ann_index import IndexKind, build_index, search_index
from metricforge.evaluation.exact_search import deepest, each_part
from metricforge.evaluation.gpu_search import lowest, search_device

Floats: TypeAlias = NDArray[np.floating[Any]]
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
# Rows by which the precision that distances need is measured.
SAMPLED, SAMPLED_QUERIES = 20_000, 256
# Fewer queries than faiss.cvar.distance_compute_blas_threshold.
_SUBTRACTED = 16
# Where so many of them have two others too near, float32 is too coarse. One alone is no rival.
DENSE = 0.02
# A squared distance should be so many times the rounding of the longest row.
DIGITS = 100
# Squared distances below this fraction of the longest row's are of copies, in float64.
COPIES = 1e-13
# Rows whose middle is that of all.
MIDDLE_OF = 4_096
# The square of a row that is smaller than this, beside the longest of 1, is near float32's least.
FAR = 2.0**-60


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
        return _needs_float64(self._shown)

    @cached_property
    def _exact_points(self) -> tuple[Floats, Floats]:
        """The rows [N, D] and the gallery [G, D] as an exact search takes them."""
        if not self._wide:
            return self.points, self._shown
        # Moved in float64: the middle of rows that are far apart is far from each of them.
        rows = np.asarray(self._embeddings, dtype=np.float32).astype(np.float64)
        rows -= _middle(rows)
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


def centred(embeddings: Floats) -> NDArray[np.float32]:
    """Embeddings moved and scaled to a middle near 0 and a size near 1.

    Neither changes which of two distances is larger, and both keep precision: faiss expands |x -
    y|^2, which loses the digits of a small distance far from the origin and overflows for large
    embeddings (a neighbour is then lost without an error). Equal rows stay equal. The middle is
    that of each component, not the mean: one row far out would take the mean with it.

    Args:
        embeddings: [N, D].

    Returns:
        float32 [N, D].

    Raises:
        DivergedError: A row has NaN or infinity, or is so far out that float32 has no room for the
            distances of the others; the error has the first such rows.
    """
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    refuse_not_finite(points)
    if points.size == 0:
        return points
    points = _sized(points)
    points = _sized(points - _middle(points).astype(np.float32))
    _refuse_far_out(points)
    return points


def _middle(points: Floats) -> NDArray[np.float64]:
    """The median of each component, of some rows evenly among all."""
    step = -(-len(points) // MIDDLE_OF)
    middle: NDArray[np.float64] = np.median(points[::step], axis=0).astype(np.float64)
    return middle


def _refuse_far_out(points: NDArray[np.float32]) -> None:
    sizes = np.abs(points).max(axis=1)
    if not sizes.any() or np.median(sizes[sizes > 0]) >= FAR:
        return
    rows = np.flatnonzero(sizes > np.sqrt(FAR))
    raise DivergedError(
        f"{len(rows)} of {len(points)} embeddings (rows {few(rows.tolist())}) lie more than a "
        "billion billion times as far out as others, whose distances have no digits beside them: "
        "leave out rows that stand for a missing embedding."
    )


def _sized(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points divided by a power of two, which rounds nothing, so that the largest is near 1."""
    _, exponent = np.frexp(np.abs(points).max())
    sized: NDArray[np.float32] = np.ldexp(points, -exponent)
    return sized


def _needs_float64(points: NDArray[np.float32]) -> bool:
    """Whether some rows have neighbours so near, compared with the longest row, that |y|^2 - 2 x.y
    in float32 has too few digits to tell one from another.

    This is so of centred rows in groups that are far apart, of dense groups among others, or with
    some rows far outside. Measured on a sample; exact copies don't count.
    """
    sample = points[:SAMPLED].astype(np.float64)
    if len(sample) < 3:
        return False
    lengths = np.square(sample).sum(axis=1)
    longest = float(np.einsum("nd,nd->n", points, points).max())
    rows = np.linspace(0, len(sample) - 1, min(SAMPLED_QUERIES, len(sample))).astype(np.int64)
    squared = lengths[rows, None] + lengths - 2 * sample[rows] @ sample.T
    squared[squared < longest * COPIES] = np.inf
    second = np.partition(squared, 1, axis=1)[:, 1]
    return bool((second < longest * DIGITS * np.finfo(np.float32).eps).mean() >= DENSE)


def search_flat(
    index: Any, points: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], Ints]:
    """The squared distances and indices [Q, k] of the k nearest in a flat index of `points` [N, D].

    faiss subtracts two rows where it has few queries, and expands |x - y|^2 where it has many: so
    it gets few at a time where that would lose the distances that matter.
    """
    if len(queries) <= _SUBTRACTED or not _needs_float64(points):
        distances, indices = index.search(queries, k)
        return distances, indices
    parts = [
        index.search(queries[begin : begin + _SUBTRACTED], k)
        for begin in range(0, len(queries), _SUBTRACTED)
    ]
    distances, indices = (np.concatenate(part) for part in zip(*parts, strict=True))
    return distances, indices


def refuse_not_finite(points: Floats) -> None:
    """Raise DivergedError, with the first such rows, for NaN or infinity in points [N, D]."""
    rows = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(rows):
        raise DivergedError(
            f"{len(rows)} of {len(points)} embeddings are NaN or infinite (rows "
            f"{few(rows.tolist())}): the model has diverged; train it with a smaller learning rate "
            "or in float32."
        )
