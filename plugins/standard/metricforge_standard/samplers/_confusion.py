"""Finds the images that are confused now, and those whose labels are probably wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from metricforge_standard.samplers._class_index import Indices

Rows = NDArray[np.float32]

NOBODY = -1
EXACT = 20_000  # images; more are searched by an inverted file, which finds most neighbours
PROBED, MOST_VISITED = 16, 50_000
BLOCK = 1 << 14  # queries at a time
CROWD = 32  # neighbours of an image's own class to search beyond
MISLABELLED_SHARE = 0.9  # the share of neighbours that contradicts an image's label
EVIDENCE = 4  # the fewest neighbours for that
DUPLICATE_DISTANCE = 1e-6  # of the embeddings' variance: a squared distance that counts as 0


@dataclass(frozen=True)
class Suspects:
    """Images whose label the embeddings contradict, as int64 indices into the train set.

    - `mislabelled`: nearly all of its nearest neighbours are of one other class;
    - `duplicated`: an image of another class lies at the same point.
    """

    mislabelled: Indices
    duplicated: Indices

    @classmethod
    def none(cls) -> Suspects:
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

    @property
    def images(self) -> Indices:
        """All of them."""
        return np.union1d(self.mislabelled, self.duplicated)


@dataclass(frozen=True)
class Confusion:
    """For each image its nearest of other classes [N, k], nearest first, padded with NOBODY.

    Suspects have no neighbours here and are no neighbours. Memory: 4 k bytes an image.
    """

    neighbours: NDArray[np.int32]
    suspects: Suspects

    @classmethod
    def of(cls, embeddings: Rows, labels: Indices, k: int) -> Confusion:
        """The confusion of embeddings [N, D] with labels [N] 0 .. C-1.

        Searches for `k` neighbours of other classes beyond up to CROWD of an image's own. Rows that
        are not finite have and are no neighbours; nor has any while all rows are the same.
        """
        neighbours = np.full((len(labels), k), NOBODY, dtype=np.int32)
        known = np.flatnonzero(np.isfinite(embeddings).all(1))
        rows = np.ascontiguousarray(embeddings[known], dtype=np.float32)
        variance = _variance(rows)
        if variance == 0:
            return cls(neighbours, Suspects.none())
        size = np.bincount(labels)[labels]
        search = _Search(rows, k + min(CROWD, int(size.max())))
        wrong, double = np.zeros((2, len(labels)), dtype=bool)
        for begin in range(0, len(rows), BLOCK):
            queries = known[begin : begin + BLOCK]
            hits = search(begin, begin + len(queries))
            near = np.where(hits == NOBODY, NOBODY, known[hits])
            of_near = np.where(near == NOBODY, NOBODY, labels[near])
            wrong[queries] = _contradicted(
                of_near, labels[queries], np.minimum(k, size[queries] - 1)
            )
            nearest = _firsts(near, (near != NOBODY) & (of_near != labels[queries, None]), k)
            neighbours[queries] = nearest
            apart = embeddings[queries] - embeddings[nearest[:, 0]]
            close = np.square(apart).sum(1) < DUPLICATE_DISTANCE * variance
            double[queries] = close & (nearest[:, 0] != NOBODY)
        wrong &= ~_mostly(wrong, labels)
        suspects = Suspects(wrong.nonzero()[0], double.nonzero()[0])
        return cls(_without(neighbours, suspects.images), suspects)


def _variance(rows: Rows) -> float:
    """The mean squared distance from the mean; 0 if that is no more than rounding."""
    if len(rows) < 2:
        return 0.0
    variance = float(rows.var(0, dtype=np.float64).sum())
    length = float(np.square(rows, dtype=np.float64).sum(1).mean())
    return variance if variance > DUPLICATE_DISTANCE * length else 0.0


class _Search:
    """The nearest rows of each row, without itself."""

    def __init__(self, rows: Rows, depth: int) -> None:
        self.rows, self.depth = rows, min(depth + 1, len(rows))
        count, dim = rows.shape
        self.index: Any = faiss.IndexFlatL2(dim)
        if count > EXACT:
            self.index = faiss.IndexIVFFlat(self.index, dim, int(2 * count**0.5))
            self.index.nprobe = PROBED
            # If most rows coincide, one list holds them all: its search is cut off.
            self.index.max_codes = MOST_VISITED
            self.index.train(rows)
        self.index.add(rows)

    def __call__(self, begin: int, end: int) -> Indices:
        """Row numbers [end - begin, depth], nearest first, padded with NOBODY."""
        _, hits = self.index.search(self.rows[begin:end], self.depth)
        itself = hits == np.arange(begin, end)[:, None]
        return _firsts(hits, ~itself, self.depth - 1)


def _firsts(entries: Indices, mask: NDArray[np.bool_], k: int) -> Indices:
    """The first `k` masked entries of each row, padded with NOBODY."""
    order = np.argsort(~mask, axis=1, kind="stable")[:, :k]
    first = np.take_along_axis(np.where(mask, entries, NOBODY), order, axis=1)
    return np.pad(first, ((0, 0), (0, k - first.shape[1])), constant_values=NOBODY)


def _contradicted(of_near: Indices, own: Indices, judges: Indices) -> NDArray[np.bool_]:
    """Whether nearly all of the first `judges` neighbours [B] are of one other class.

    `judges` is the number of other images of the own class, which could all have been nearer.
    """
    contradicted = np.zeros(len(own), dtype=bool)
    for count in np.unique(judges):
        rows = (judges == count).nonzero()[0]
        if EVIDENCE <= count <= of_near.shape[1]:
            votes = np.sort(of_near[rows, :count], axis=1)
            # A class with more than half of the votes has the middle one.
            class_ = votes[:, count // 2]
            agree = (votes == class_[:, None]).sum(1) >= MISLABELLED_SHARE * count
            contradicted[rows] = agree & (class_ != own[rows]) & (class_ != NOBODY)
    return contradicted


def _mostly(wrong: NDArray[np.bool_], labels: Indices) -> NDArray[np.bool_]:
    """The images of classes of which half or more seem mislabelled: these are confused."""
    confused: NDArray[np.bool_] = (np.bincount(labels, wrong) >= 0.5 * np.bincount(labels))[labels]
    return confused


def _without(neighbours: NDArray[np.int32], images: Indices) -> NDArray[np.int32]:
    """The neighbours without these images, which then have none."""
    left_out = np.zeros(len(neighbours) + 1, dtype=bool)  # one more, for NOBODY
    left_out[images] = True
    neighbours[left_out[neighbours]] = NOBODY
    neighbours[images] = NOBODY
    return neighbours
