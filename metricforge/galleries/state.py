"""What is enrolled in a gallery at one time, and who an image is of by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation import Ints
from metricforge.evaluation.flat_search import search_flat
from metricforge.galleries.answers import Answer, Candidate, Neighbour
from metricforge.galleries.calibration import Calibration, Strangers, calibrate

MOST_NEIGHBOURS = 5

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Enrolled:
    """An enrolled image: its class, its file or another name, and the sha256 of its pixels."""

    name: str
    image: str
    sha256: str


@dataclass(frozen=True)
class State:
    """What is enrolled at one time, as embeddings [N, D] with their images."""

    enrolled: tuple[Enrolled, ...]
    rows: Floats
    calibration: Calibration

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({each.name for each in self.enrolled}))

    @cached_property
    def labels(self) -> Ints:
        place = {name: index for index, name in enumerate(self.classes)}
        return np.array([place[each.name] for each in self.enrolled], dtype=np.int64)

    @cached_property
    def images(self) -> Any:
        return _index_of(self.rows)

    @cached_property
    def means(self) -> Any:
        sums = np.zeros((len(self.classes), self.rows.shape[1]))
        np.add.at(sums, self.labels, self.rows)
        means = sums / np.bincount(self.labels)[:, None]
        return _index_of(means.astype(np.float32))

    @cached_property
    def _of_several(self) -> dict[int, Calibration]:
        return {}

    def calibration_of(self, together: int, strangers: Strangers) -> Calibration:
        """When so many images of one thing are identified together."""
        if together not in self._of_several:
            sizes = np.bincount(self.labels).tolist()
            self._of_several[together] = calibrate(
                *strangers, sizes, self.calibration.share, together
            )
        return self._of_several[together]

    def answers(self, rows: Floats, top: int, chosen: Calibration | None = None) -> list[Answer]:
        """Who the images are of, by their embeddings [Q, D], with the `top` nearest classes.

        With `chosen` that decides, in place of the own calibration.
        """
        chosen = chosen or self.calibration
        squared, found = search_flat(self.images, rows, min(MOST_NEIGHBOURS, len(self.rows)))
        return [
            _answer(self, chosen, candidates, distances, indices)
            for candidates, distances, indices in zip(
                _candidates(self, chosen, rows, top),
                np.sqrt(squared.clip(min=0)),
                found,
                strict=True,
            )
        ]

    def shared_images(self) -> dict[str, tuple[str, ...]]:
        """The classes of each image that is enrolled in several, by the image's first name."""
        first: dict[str, str] = {}
        classes: dict[str, set[str]] = {}
        for each in self.enrolled:
            first.setdefault(each.sha256, each.image)
            classes.setdefault(each.sha256, set()).add(each.name)
        return {
            first[sha256]: tuple(sorted(names))
            for sha256, names in classes.items()
            if len(names) > 1
        }

    def strays(self) -> list[tuple[Enrolled, str]]:
        """The images that are nearer to images of another class, with that class."""
        _, found = search_flat(self.images, self.rows, min(2, len(self.rows)))
        places = np.arange(len(self.rows))
        other = np.where(found[:, 0] == places, found[:, -1], found[:, 0])
        wrong = np.flatnonzero(self.labels != self.labels[other])
        alone = np.bincount(self.labels)[self.labels[wrong]] == 1
        return [(self.enrolled[index], self.enrolled[other[index]].name) for index in wrong[~alone]]


def _index_of(rows: Floats) -> Any:
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.ascontiguousarray(rows))
    return index


def _candidates(state: State, chosen: Calibration, rows: Floats, top: int) -> list[list[Candidate]]:
    """The nearest classes of each row, nearest first."""
    top = min(top, len(state.classes))
    if chosen.by == "mean":
        squared, found = search_flat(state.means, rows, top)
        return [
            [Candidate(state.classes[i], float(d)) for d, i in zip(*row, strict=True)]
            for row in zip(np.sqrt(squared.clip(min=0)), found, strict=True)
        ]
    return [_by_images(state, row[None], top) for row in rows]


def _by_images(state: State, row: Floats, top: int) -> list[Candidate]:
    """The classes of the nearest images, so many images that these are of enough classes."""
    k = min(len(state.rows), 8 * top)
    while True:
        squared, found = search_flat(state.images, row, k)
        nearest: dict[str, float] = {}
        for distance, index in zip(np.sqrt(squared[0].clip(min=0)), found[0], strict=True):
            nearest.setdefault(state.enrolled[index].name, float(distance))
        if len(nearest) >= top or k == len(state.rows):
            return [Candidate(*each) for each in list(nearest.items())[:top]]
        k = min(len(state.rows), 4 * k)


def _answer(
    state: State,
    chosen: Calibration,
    candidates: Sequence[Candidate],
    distances: Floats,
    indices: Ints,
) -> Answer:
    first = candidates[0]
    known = first.distance < chosen.threshold
    neighbours = [
        Neighbour(state.enrolled[index].image, state.enrolled[index].name, float(distance))
        for distance, index in zip(distances, indices, strict=True)
    ]
    return Answer(
        first.name if known else None,
        chosen.confidence(first.distance),
        tuple(candidates),
        tuple(neighbours),
    )
