"""What is enrolled in a gallery at one time, and who an image is of by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from metricforge.evaluation import Cohort, IndexKind, Ints
from metricforge.galleries.answers import Answer, Candidate, Neighbour
from metricforge.galleries.calibration import Calibration, Strangers
from metricforge.galleries.points import Floats, Points

MOST_NEIGHBOURS = 5
TIES = 1e-5
"""An image at the threshold is unknown. Its distance is of float32, the threshold of float64, and
binary embeddings have many images at one distance."""

MOST_EXACT_MEANS = 100_000
"""More class means than these, which take 10 ms, are searched as the images are."""


@dataclass(frozen=True)
class Enrolled:
    """An enrolled image: its class, its file or another name, and the sha256 of its pixels."""

    name: str
    image: str
    sha256: str


@dataclass(frozen=True)
class State:
    """What is enrolled at one time, as embeddings [N, D] with their images, and how to search."""

    enrolled: tuple[Enrolled, ...]
    rows: Floats
    calibration: Calibration
    search: IndexKind = "exact"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({each.name for each in self.enrolled}))

    @cached_property
    def labels(self) -> Ints:
        place = {name: index for index, name in enumerate(self.classes)}
        return np.array([place[each.name] for each in self.enrolled], dtype=np.int64)

    @cached_property
    def images(self) -> Points:
        return Points(self.rows, self.search)

    @cached_property
    def means(self) -> Points:
        # A product, for np.add.at takes ten times as long for a million images.
        member = np.ones(len(self.labels)), (self.labels, np.arange(len(self.labels)))
        means = csr_array(member) @ self.rows / np.bincount(self.labels)[:, None]
        many = len(means) > MOST_EXACT_MEANS
        return Points(means.astype(np.float32), self.search if many else "exact")

    @cached_property
    def _of_several(self) -> dict[int, Calibration]:
        return {}

    def calibration_of(self, together: int, strangers: Strangers) -> Calibration:
        """When so many images of one thing are identified together."""
        if together not in self._of_several:
            sizes = np.bincount(self.labels).tolist()
            share = self.calibration.share
            self._of_several[together] = strangers.calibrated(sizes, share, together)
        return self._of_several[together]

    def answers(
        self,
        rows: Floats,
        top: int,
        cohort: Cohort | None = None,
        chosen: Calibration | None = None,
    ) -> list[Answer]:
        """Who the images are of, by their embeddings [Q, D], with the `top` nearest classes.

        A calibration that normalises needs the cohort. With `chosen` that decides, in place of the
        own calibration.
        """
        chosen = chosen or self.calibration
        near = np.zeros(len(rows))
        if chosen.normalised:
            assert cohort is not None, "it has been checked"
            near = cohort.distances(rows)
        top = min(top, len(self.classes))
        by_mean = chosen.by == "mean"
        found = list(self.images.nearest(rows, max(MOST_NEIGHBOURS, 0 if by_mean else 8 * top)))
        if by_mean:
            classes = [
                [Candidate(self.classes[index], distance) for distance, index in each]
                for each in self.means.nearest(rows, top)
            ]
        else:
            classes = [
                _of_images(self, row[None], top, each)
                for row, each in zip(rows, found, strict=True)
            ]
        return [
            _answer(self, chosen, candidates, each[:MOST_NEIGHBOURS], offset)
            for candidates, each, offset in zip(classes, found, near.tolist(), strict=True)
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
        two = Points(self.rows).nearest(self.rows, 2)
        other = np.array([
            each[-1][1] if each[0][1] == place else each[0][1] for place, each in enumerate(two)
        ])  # fmt: skip
        wrong = np.flatnonzero(self.labels != self.labels[other])
        alone = np.bincount(self.labels)[self.labels[wrong]] == 1
        return [(self.enrolled[index], self.enrolled[other[index]].name) for index in wrong[~alone]]


def _of_images(
    state: State, row: Floats, top: int, nearest: Sequence[tuple[float, int]]
) -> list[Candidate]:
    """The classes of the nearest images, of more images until these are of enough classes.

    An approximate search is asked once.
    """
    while True:
        classes: dict[str, float] = {}
        for distance, index in nearest:
            classes.setdefault(state.enrolled[index].name, distance)
        whole = len(nearest) == len(state.rows) or state.search != "exact"
        if len(classes) >= top or whole:
            return [Candidate(*each) for each in list(classes.items())[:top]]
        (nearest,) = state.images.nearest(row, 4 * len(nearest))


def _answer(
    state: State,
    chosen: Calibration,
    candidates: Sequence[Candidate],
    nearest: Sequence[tuple[float, int]],
    offset: float,
) -> Answer:
    first = candidates[0]
    score = first.distance - offset
    return Answer(
        first.name if score < chosen.threshold - TIES * max(1, abs(chosen.threshold)) else None,
        chosen.confidence(score),
        score,
        tuple(candidates),
        tuple(
            Neighbour(state.enrolled[index].image, state.enrolled[index].name, distance)
            for distance, index in nearest
        ),
    )
