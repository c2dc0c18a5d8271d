"""Open-set identification: which enrolled class is an image of, or is it of none?

Some classes are enrolled with a few images each; images of the others are strangers. An image is
identified as the nearest enrolled class if that is nearer than a threshold, else it is unknown.
Shapes: P probes in all trials together, E enrolled classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from metricforge.errors import DataError
from metricforge.evaluation.centring import Floats, middle, refuse_not_finite
from metricforge.evaluation.cohort import Cohort
from metricforge.evaluation.neighbor_search import Ints
from metricforge.evaluation.statistics import CLASSES_TO_RESAMPLE, Doubles

By: TypeAlias = Literal["mean", "nearest"]
"""What an image is compared with: the mean of a class's images, or the nearest of them."""

# Distances at a time, 64 MB of float64.
ENTRIES = 2**23
# Sums of weights, as 1/3 + 1/3 + 1/3, are right to so much.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Trial:
    """Which images are enrolled, and which ask.

    Args:
        classes: int64 [E], the enrolled classes in random order.
        enrolled: int64 [M], rows of their enrolled images.
        probes: int64 [P, T], rows of all other images, T of one class that ask together.
    """

    classes: Ints
    enrolled: Ints
    probes: Ints


@dataclass(frozen=True)
class Probes:
    """What each probe of all trials got.

    Args:
        images: int64 [P, T], the images, T of one class that ask together.
        classes: int64 [P], their own classes.
        ranks: int64 [P], the rank of its class among the enrolled by distance, from 1; 0 for a
            stranger, whose class is not enrolled.
        distances: float64 [P], to the nearest enrolled class.
    """

    images: Ints
    classes: Ints
    ranks: Ints
    distances: Doubles

    def less(self, embeddings: Floats, cohort: Cohort) -> Probes:
        """The same by distances less those to a cohort, of the embeddings [N, D] of all images."""
        if self.images.shape[1] == 1:  # many ask in several trials
            near = cohort.distances(embeddings)[self.images[:, 0]]
        else:
            near = cohort.distances(embeddings.astype(np.float64)[self.images].mean(axis=1))
        return replace(self, distances=self.distances - near)


def draw_trials(
    labels: Ints,
    *,
    enrolled: int,
    shots: int | Sequence[int],
    trials: int,
    seed: int = 0,
    together: int = 1,
) -> list[Trial]:
    """Draw classes to enrol, each with `shots` images; all other images ask.

    Classes are strangers in turn, so that each is one about as often. Those with fewer than
    `shots` + `together` images are never enrolled, and those with fewer than `together` never ask.

    Args:
        labels: int64 [N].
        enrolled: Classes to enrol, 1 or more.
        shots: Images of each to enrol, 1 or more. Of several numbers each class draws one, and
            enrols as many, or all of its images but those that ask together.
        trials: Number of trials; more if not every class would be a stranger once.
        seed: Seed of the draws.
        together: Images of one class that ask together, 1 or more: each with the next of them.

    Raises:
        DataError: There are too few classes of that size, or none would be a stranger.
    """
    sizes = np.atleast_1d(shots)
    least = int(sizes.min())
    classes, counts = np.unique(labels, return_counts=True)
    needed = least + together
    large, small = classes[counts >= needed], classes[(counts < needed) & (counts >= together)]
    outside = len(large) - enrolled
    if outside < 0 or outside + len(small) == 0:
        raise DataError(
            f"to enrol {enrolled} classes with {least} images each, identification needs so many "
            f"classes of {needed} images or more, and another whose images are strangers; "
            f"{len(large)} of {len(classes)} classes have as many: hold out more classes."
        )
    rng = np.random.default_rng(seed)
    turns = max(trials, math.ceil(len(large) / outside)) if outside else trials
    order = np.zeros(0, dtype=np.int64)
    drawn = []
    for _ in range(turns):
        if len(order) < outside:
            rest = rng.permutation(np.setdiff1d(large, order))
            order = np.concatenate([order, rest])
        strangers, order = order[:outside], order[outside:]
        chosen = rng.permutation(np.setdiff1d(large, strangers))
        drawn.append(_trial(labels, chosen, rng.choice(sizes, len(chosen)), together, rng))
    return drawn


def _trial(
    labels: Ints, classes: Ints, shots: Ints, together: int, rng: np.random.Generator
) -> Trial:
    shuffled = rng.permutation(len(labels))
    shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    names, start, inverse, counts = np.unique(
        labels[shuffled], return_index=True, return_inverse=True, return_counts=True
    )
    to_enrol = np.zeros(len(names), dtype=np.int64)
    to_enrol[np.searchsorted(names, classes)] = shots
    to_enrol = np.minimum(to_enrol, (counts - together).clip(0))
    known = np.arange(len(shuffled)) - start[inverse] < to_enrol[inverse]
    return Trial(classes, shuffled[known], _groups(shuffled[~known], inverse[~known], together))


def _groups(rows: Ints, classes: Ints, together: int) -> Ints:
    """Each row [P] with the next ones of its class [P, T]; `classes` are those of rows, sorted.

    A class with fewer rows has no groups.
    """
    _, start, inverse, counts = np.unique(
        classes, return_index=True, return_inverse=True, return_counts=True
    )
    begin, size = start[inverse][:, None], counts[inverse][:, None]
    within = np.arange(len(rows))[:, None] - begin + np.arange(together)
    groups = rows[begin + within % size][size[:, 0] >= together]
    return np.asarray(groups[np.argsort(groups[:, 0])])


def probe(
    embeddings: Floats,
    labels: Ints,
    trials: Sequence[Trial],
    by: By,
) -> Probes:
    """Compare the probes of each trial with its enrolled classes, by euclidean distance.

    Of images that ask together the mean embedding is compared.

    Args:
        embeddings: [N, D].
        labels: int64 [N].
        trials: The trials.
        by: What a probe is compared with.

    Raises:
        DivergedError: An embedding is NaN or infinite.
    """
    refuse_not_finite(embeddings)
    points = embeddings.astype(np.float64)
    points -= middle(points)
    parts = [part for trial in trials for part in _compared(points, labels, trial, by)]
    return Probes(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _compared(
    points: Doubles,
    labels: Ints,
    trial: Trial,
    by: By,
) -> Iterator[tuple[Ints, Ints, Ints, Doubles]]:
    """Images, classes, ranks and distances of the probes of a trial, part by part."""
    place = np.full(int(labels.max()) + 1, -1)
    place[trial.classes] = np.arange(len(trial.classes))
    enrolled = trial.enrolled[np.argsort(place[labels[trial.enrolled]], kind="stable")]
    starts = np.flatnonzero(np.diff(place[labels[enrolled]], prepend=-1))
    known = points[enrolled]
    if by == "mean":
        sizes = np.diff(starts, append=len(enrolled))
        known = np.add.reduceat(known, starts) / sizes[:, None]
    step = max(1, ENTRIES // max(len(known), points.shape[1] * trial.probes.shape[1]))
    for begin in range(0, len(trial.probes), step):
        images = trial.probes[begin : begin + step]
        classes = labels[images[:, 0]]
        distances = _distances(points[images].mean(axis=1), known)
        if by == "nearest":
            distances = np.minimum.reduceat(distances, starts, axis=1)
        yield images, classes, _ranks(distances, place[classes]), distances.min(axis=1)


def _distances(points: Doubles, known: Doubles) -> Doubles:
    squared = np.square(points).sum(axis=1)[:, None] + np.square(known).sum(axis=1)
    squared -= 2 * points @ known.T
    return np.asarray(np.sqrt(squared.clip(min=0)))


def _ranks(distances: Doubles, own: Ints) -> Ints:
    """The rank of the own class of each probe; a tie is for the class that was drawn first."""
    mine = distances[np.arange(len(own)), own][:, None]
    earlier = np.arange(distances.shape[1]) < own[:, None]
    ranks = 1 + ((distances < mine) | ((distances == mine) & earlier)).sum(axis=1)
    return np.where(own < 0, 0, ranks)


class OpenSet:
    """Rates of identification: means over classes, each of which counts the same.

    FPIR is the fraction of strangers' images that are identified as somebody, DIR that of enrolled
    classes' images that are identified as theirs.
    """

    def __init__(self, probes: Probes, multiplicity: Doubles | None = None) -> None:
        """Sort the probes.

        Args:
            probes: What they got; with strangers and without.
            multiplicity: float64 [P], how often each probe counts. Default: once.
        """
        once = np.ones(len(probes.images)) if multiplicity is None else multiplicity
        self.probes, self.multiplicity = probes, once
        stranger = probes.ranks == 0
        self.strangers = _Weighted.of(
            probes.distances[stranger], probes.classes[stranger], once[stranger]
        )
        mated = ~stranger
        right = probes.ranks[mated] == 1
        self._mated = _Weighted.of(
            np.where(right, probes.distances[mated], np.inf), probes.classes[mated], once[mated]
        )
        weights = class_weights(probes.classes[mated], once[mated])
        self._ranks, self._weights = probes.ranks[mated], weights

    def cmc(self, k: int) -> float:
        """The fraction of enrolled classes' images with their class among the k nearest."""
        return _fraction(self._weights[self._ranks <= k].sum())

    def fpir(self, threshold: float) -> float:
        """The fraction of strangers' images that are nearer than a threshold."""
        return self.strangers.below(threshold)

    def dir(self, threshold: float) -> float:
        """The fraction of enrolled classes' images that are identified as theirs below it."""
        return self._mated.below(threshold)

    def threshold(self, fpir: float) -> float:
        """The highest threshold with at most that FPIR: infinite if all may be identified."""
        beyond = self.strangers.cumulated > fpir + ROUNDING
        return float(self.strangers.distances[beyond.argmax()]) if beyond.any() else math.inf

    @property
    def area(self) -> float:
        """The area under DIR over FPIR; equal distances count half (Dhamija 2018)."""
        within = self._mated.distances < math.inf
        at = self._mated.distances[within]
        weights = np.diff(self._mated.cumulated, prepend=0)[within]
        low, high = (self.strangers.at(at, side) for side in ("left", "right"))
        return _fraction((weights * (1 - (low + high) / 2)).sum())


@dataclass(frozen=True)
class _Weighted:
    """Ascending distances [P], and the share of the weight up to each."""

    distances: Doubles
    cumulated: Doubles

    @classmethod
    def of(cls, distances: Doubles, classes: Ints, multiplicity: Doubles) -> _Weighted:
        order = np.argsort(distances, kind="stable")
        return cls(distances[order], np.cumsum(class_weights(classes, multiplicity)[order]))

    def below(self, threshold: float) -> float:
        return _fraction(self.at(np.array([threshold]), "left")[0])

    def at(self, thresholds: Doubles, side: str) -> Doubles:
        index = np.searchsorted(self.distances, thresholds, side=side)  # type: ignore[call-overload]
        return np.asarray(np.append(0.0, self.cumulated)[index])


def _fraction(total: float) -> float:
    """A sum of weights, which rounding may take beyond 1."""
    return float(min(max(total, 0.0), 1.0))


def class_weights(classes: Ints, multiplicity: Doubles) -> Doubles:
    """The weight of each probe, so that all of a class together weigh as much as those of another.

    With a class that counts twice its probes weigh twice as much.
    """
    _, inverse, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    weights = multiplicity / sizes[inverse]
    return np.asarray(weights / (weights.sum() or 1))


def resampled_probes(
    probes: Probes, resamples: int, *, seed: int = 0
) -> tuple[list[Doubles], str, int]:
    """How often each probe counts in bootstrap samples.

    Whole classes are resampled, or images if there are fewer than ten classes. Each sample has
    strangers and others.

    Args:
        probes: P probes.
        resamples: Number of samples.
        seed: Seed of the samples.

    Returns:
        float64 [P] of each, the name of the resampled units ("classes" or "images"), their number.
    """
    _, of_class = np.unique(probes.classes, return_inverse=True)
    by_class = int(of_class.max()) + 1 >= CLASSES_TO_RESAMPLE
    unit = of_class if by_class else np.unique(probes.images[:, 0], return_inverse=True)[1]
    rng, count = np.random.default_rng(seed), int(unit.max()) + 1
    stranger = probes.ranks == 0
    samples: list[Doubles] = []
    while len(samples) < resamples:
        drawn = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)[unit]
        if drawn[stranger].any() and drawn[~stranger].any():
            samples.append(drawn)
    return samples, "classes" if by_class else "images", count
