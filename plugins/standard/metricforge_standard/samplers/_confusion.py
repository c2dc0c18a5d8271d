"""Which images are confused with which right now, and whose labels are hardly to be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from metricforge_standard.samplers._class_index import Indices

Rows = NDArray[np.float32]

NOBODY = -1
EXACT = 20_000  # images; more are searched through an inverted file, which finds most
PROBED, MOST_VISITED = 16, 50_000
BLOCK = 1 << 14  # images asked about at a time
CROWD = 32  # how many of the nearest places an image's own class may take up
ONE_CLASS = 0.9  # the share of its neighbours that speaks against an image's label
EVIDENCE = 4  # the fewest neighbours that may
SAME_PLACE = 1e-6  # of the embeddings' variance: a squared distance that is none


@dataclass(frozen=True)
class Suspects:
    """Images whose label the embeddings contradict, as int64 indices into the train set.

    - `mislabelled`: nearly all of its nearest neighbours are of one class, and not of its own;
    - `duplicated`: an image of another class lies in the same place.
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
    """For each image the nearest of other classes [N, k], nearest first, NOBODY where none is.

    Suspects have no neighbours here and are nobody's. Memory: 4 k bytes an image.
    """

    neighbours: NDArray[np.int32]
    suspects: Suspects

    @classmethod
    def of(cls, embeddings: Rows, labels: Indices, k: int) -> Confusion:
        """The confusion of embeddings [N, D] with labels [N] 0 .. C-1.

        Looks for `k` neighbours of other classes behind up to CROWD of an image's own. Rows that
        are not finite confuse nobody; nor does anything while all rows are the same.
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
            asked = known[begin : begin + BLOCK]
            found = search(begin, begin + len(asked))
            near = np.where(found == NOBODY, NOBODY, known[found])
            of_near = np.where(near == NOBODY, NOBODY, labels[near])
            wrong[asked] = _contradicted(of_near, labels[asked], np.minimum(k, size[asked] - 1))
            others = _firsts(near, (near != NOBODY) & (of_near != labels[asked, None]), k)
            neighbours[asked] = others
            apart = embeddings[asked] - embeddings[others[:, 0]]
            close = np.square(apart).sum(1) < SAME_PLACE * variance
            double[asked] = close & (others[:, 0] != NOBODY)
        wrong &= ~_mostly(wrong, labels)
        suspects = Suspects(wrong.nonzero()[0], double.nonzero()[0])
        return cls(_without(neighbours, suspects.images), suspects)


def _variance(rows: Rows) -> float:
    """The mean squared distance from the mean; 0 if that is no more than rounding."""
    if len(rows) < 2:
        return 0.0
    variance = float(rows.var(0, dtype=np.float64).sum())
    length = float(np.square(rows, dtype=np.float64).sum(1).mean())
    return variance if variance > SAME_PLACE * length else 0.0


class _Search:
    """The nearest rows of each row, itself left out."""

    def __init__(self, rows: Rows, depth: int) -> None:
        self.rows, self.depth = rows, min(depth + 1, len(rows))
        count, dim = rows.shape
        self.index: Any = faiss.IndexFlatL2(dim)
        if count > EXACT:
            self.index = faiss.IndexIVFFlat(self.index, dim, int(2 * count**0.5))
            self.index.nprobe = PROBED
            # Where most of the rows coincide, one list holds them all: it is cut off.
            self.index.max_codes = MOST_VISITED
            self.index.train(rows)
        self.index.add(rows)

    def __call__(self, begin: int, end: int) -> Indices:
        """Row numbers [end - begin, depth], nearest first, NOBODY where there are no more."""
        _, found = self.index.search(self.rows[begin:end], self.depth)
        itself = found == np.arange(begin, end)[:, None]
        return _firsts(found, ~itself, self.depth - 1)


def _firsts(found: Indices, wanted: NDArray[np.bool_], k: int) -> Indices:
    """Of each row the first `k` entries that are wanted, NOBODY behind them."""
    places = np.argsort(~wanted, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(np.where(wanted, found, NOBODY), places, axis=1)
    return np.pad(kept, ((0, 0), (0, k - kept.shape[1])), constant_values=NOBODY)


def _contradicted(of_near: Indices, own: Indices, judges: Indices) -> NDArray[np.bool_]:
    """Whether nearly all of the first `judges` neighbours [B] are of one class, not the own.

    As many judge as there are others of the own class, who could all have been nearer.
    """
    contradicted = np.zeros(len(own), dtype=bool)
    for count in np.unique(judges):
        rows = (judges == count).nonzero()[0]
        if EVIDENCE <= count <= of_near.shape[1]:
            votes = np.sort(of_near[rows, :count], axis=1)
            # A class with more than half of the votes has the middle one.
            class_ = votes[:, count // 2]
            agree = (votes == class_[:, None]).sum(1) >= ONE_CLASS * count
            contradicted[rows] = agree & (class_ != own[rows]) & (class_ != NOBODY)
    return contradicted


def _mostly(wrong: NDArray[np.bool_], labels: Indices) -> NDArray[np.bool_]:
    """The images of classes at least half of which would be mislabelled: they are confused."""
    found: NDArray[np.bool_] = (np.bincount(labels, wrong) >= 0.5 * np.bincount(labels))[labels]
    return found


def _without(neighbours: NDArray[np.int32], images: Indices) -> NDArray[np.int32]:
    """The same neighbours, but these images have none and are nobody's."""
    left_out = np.zeros(len(neighbours) + 1, dtype=bool)  # one more, for NOBODY
    left_out[images] = True
    neighbours[left_out[neighbours]] = NOBODY
    neighbours[images] = NOBODY
    return neighbours
