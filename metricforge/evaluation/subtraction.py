"""Squared distances by subtraction, where those by products are lost in rounding.

|x|^2 - 2 x.y + |y|^2 is fast, but in float32 it has no digits for rows that are much nearer to each
other than to the origin.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from metricforge.evaluation.exact_search import nearest_in

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.floating[Any]]

# A squared distance by products should be so many times its rounding.
DIGITS = 100
# Distances in a part, 128 MB, and rows of the gallery that are subtracted from at a time.
ENTRIES, ROWS = 2**24, 2**14
EPS = float(np.finfo(np.float32).eps)


def too_near(squared: Floats, lengths: Floats) -> Bools:
    """Whether squared distances [Q] are lost in rounding, for rows of these squared lengths [Q]."""
    return np.asarray(squared < DIGITS * EPS * lengths.astype(np.float64))


def unordered(
    points: NDArray[np.float32], given: NDArray[np.float32], queries: Ints, nearest: Ints
) -> Bools:
    """Whether products can't tell in which order the nearest rows of queries come.

    So it is where two of them are too near, but for copies of the query. One alone has no rival.

    Args:
        points: float32 [N, D], centred.
        given: The same as they are: to move rows may make them equal.
        queries: Rows [Q].
        nearest: Rows [Q, K] that a search by products found, nearest first.
    """
    if nearest.shape[1] == 0:
        return np.zeros(len(queries), dtype=bool)
    second = nearest[:, min(1, nearest.shape[1] - 1)]
    lost = _too_near(points, queries, second)
    # Of copies all products are equal, and any order is right, unless others are among them.
    for row in np.flatnonzero(lost & _copies(given, queries, second)):
        query, found = queries[row], nearest[row]
        lost[row] = (_too_near(points, query, found) & ~_copies(given, query, found)).any()
    return lost


def _too_near(points: NDArray[np.float32], first: Any, second: Ints) -> Bools:
    apart = points[first].astype(np.float64) - points[second]
    return too_near(np.square(apart).sum(axis=-1), np.square(points[first]).sum(axis=-1))


def _copies(given: NDArray[np.float32], first: Any, second: Ints) -> Bools:
    return np.asarray((given[first] == given[second]).all(axis=-1))


def nearest_by_subtraction(queries: Floats, own: Ints, gallery: Floats, k: int) -> Ints:
    """The indices [Q, k] of the nearest of a gallery [N, D], nearest first, ties by index.

    See :func:`distances_by_subtraction`.
    """
    rows = distances_by_subtraction(queries, own, gallery)
    return np.array([nearest_in(row, k) for row in rows], dtype=np.int64).reshape(-1, k)


def distances_by_subtraction(
    queries: Floats, own: Ints, gallery: Floats
) -> Iterator[NDArray[np.float32]]:
    """The distances [N] of each query [Q, D] to all of a gallery [N, D], over the largest.

    `own` [Q] is the index of a query that is in the gallery itself, at which it is infinite, or -1.
    The difference of two rows is taken in float64, so that it needs no centre.
    """
    step = max(1, ENTRIES // max(1, len(gallery)))
    for begin in range(0, len(queries), step):
        part = slice(begin, begin + step)
        some = torch.from_numpy(queries[part].astype(np.float64))
        parts = [
            torch.cdist(
                some,
                torch.from_numpy(gallery[row : row + ROWS].astype(np.float64)),
                compute_mode="donot_use_mm_for_euclid_dist",
            )
            for row in range(0, len(gallery), ROWS)
        ]
        for index, row in zip(own[part], torch.cat(parts, dim=1).numpy(), strict=True):
            row /= row.max() or 1
            if index >= 0:
                row[index] = np.inf
            yield row.astype(np.float32)
