"""Verification: do two images show the same class? The distance of their embeddings decides.

Shapes: P pairs of images out of N.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation.centring import Floats, refuse_not_finite
from metricforge.evaluation.neighbor_search import Ints
from metricforge.evaluation.statistics import CLASSES_TO_RESAMPLE, Doubles

MOST_PAIRS = 1_000_000
"""With more pairs than this, half as many of each kind are drawn."""

# 64 MB of differences at 128 dimensions.
_PART = 1 << 16


@dataclass(frozen=True)
class ImagePairs:
    """Pairs of images.

    Args:
        first: int64 [P], rows.
        second: int64 [P], rows.
        same: bool [P], whether the two are of one class.
    """

    first: Ints
    second: Ints
    same: NDArray[np.bool_]


@dataclass(frozen=True)
class Roc:
    """Fractions of pairs within increasing distances.

    Args:
        distance: float64 [T], ascending and distinct.
        accepted: float64 [T], fraction of the pairs of one class within it (TAR).
        false: float64 [T], fraction of the pairs of two classes within it (FAR).
    """

    distance: Doubles
    accepted: Doubles
    false: Doubles

    @property
    def area(self) -> float:
        """How often a pair of one class is nearer than one of two; ties count half."""
        accepted, false = np.r_[0.0, self.accepted], np.r_[0.0, self.false]
        return float(np.sum(np.diff(false) * (accepted[1:] + accepted[:-1]) / 2))

    @property
    def equal_error(self) -> tuple[float, float]:
        """The rate at which FAR and FRR are equal, and the distance there.

        Between two distances the rate is interpolated.
        """
        false, missed = np.r_[0.0, self.false], 1 - np.r_[0.0, self.accepted]
        # 1 - 2/3 and 1/3 are the same rate.
        index = int(np.argmax(false >= missed - 1e-12))
        if index == 0:
            return float(missed[0]), 0.0
        gap = (missed - false)[index - 1 : index + 1]
        share = min(1.0, gap[0] / (gap[0] - gap[1]))
        rate = false[index - 1] + share * (false[index] - false[index - 1])
        return float(rate), float(self.distance[index - 1])

    def within(self, distance: float) -> tuple[float, float]:
        """TAR and FAR at a distance.

        Args:
            distance: Pairs within it are accepted.

        Returns:
            The fractions of pairs of one class and of pairs of two that are accepted.
        """
        index = int(np.searchsorted(self.distance, distance, side="right"))
        if index == 0:
            return 0.0, 0.0
        return float(self.accepted[index - 1]), float(self.false[index - 1])

    def distance_at(self, false: float) -> float | None:
        """The highest distance where FAR is at most `false`; None if it is higher at all of them.

        Args:
            false: FAR, 0 to 1.
        """
        index = int(np.searchsorted(self.false, false, side="right"))
        return float(self.distance[index - 1]) if index else None

    def accepted_at(self, false: float) -> float:
        """TAR where FAR is at most `false`.

        Args:
            false: FAR, 0 to 1.

        Returns:
            The fraction of pairs of one class that are accepted.
        """
        index = int(np.searchsorted(self.false, false, side="right"))
        return float(self.accepted[index - 1]) if index else 0.0


def draw_pairs(labels: Ints, most: int = MOST_PAIRS, *, seed: int = 0) -> ImagePairs:
    """All pairs of images, or `most` of them, half of one class and half of two.

    They are drawn independently, each pair of its kind with the same probability. One kind may be
    missing.

    Args:
        labels: int64 [N].
        most: Most pairs.
        seed: Seed of the draw.

    Returns:
        The pairs.
    """
    count = len(labels)
    if count * (count - 1) // 2 <= most:
        first, second = np.triu_indices(count, 1)
        return ImagePairs(first, second, labels[first] == labels[second])
    rng = np.random.default_rng(seed)
    positives, negatives = (
        _positive_pairs(labels, most // 2, rng),
        _negative_pairs(labels, most // 2, rng),
    )
    first, second = np.concatenate([positives, negatives], axis=1)
    return ImagePairs(first, second, labels[first] == labels[second])


def _positive_pairs(labels: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Pairs [2, count] of two images of one class; none if there is no such class."""
    order = np.argsort(labels, kind="stable")
    _, start, inverse, size = np.unique(
        labels[order], return_index=True, return_inverse=True, return_counts=True
    )
    partners = (size - 1)[inverse]
    if partners.sum() == 0:
        return np.zeros((2, 0), dtype=np.int64)
    # An image is in as many pairs as its class has other images.
    anchor = np.searchsorted(
        np.cumsum(partners), rng.integers(0, partners.sum(), count), side="right"
    )
    step = rng.integers(1, size[inverse[anchor]])
    begin, members = start[inverse[anchor]], size[inverse[anchor]]
    other = begin + (anchor - begin + step) % members
    return np.asarray(order[np.stack([anchor, other])], dtype=np.int64)


def _negative_pairs(labels: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Pairs [2, count] of two images of two classes; none if there is one class."""
    order = np.argsort(labels, kind="stable")
    _, start, inverse, size = np.unique(
        labels[order], return_index=True, return_inverse=True, return_counts=True
    )
    partners = (len(labels) - size)[inverse]
    if partners.sum() == 0:
        return np.zeros((2, 0), dtype=np.int64)
    # An image is in as many pairs as there are images of other classes; its own class is skipped.
    anchor = np.searchsorted(
        np.cumsum(partners), rng.integers(0, partners.sum(), count), side="right"
    )
    other = rng.integers(0, partners[anchor])
    own = inverse[anchor]
    other += np.where(other >= start[own], size[own], 0)
    return np.asarray(order[np.stack([anchor, other])], dtype=np.int64)


def distances_of(embeddings: Floats, pairs: ImagePairs) -> Doubles:
    """The euclidean distances of pairs, in float64.

    Args:
        embeddings: [N, D].
        pairs: P pairs of rows.

    Returns:
        float64 [P].

    Raises:
        DivergedError: An embedding is NaN or infinite.
    """
    points = np.asarray(embeddings)
    refuse_not_finite(points)
    distances = np.empty(len(pairs.first))
    for begin in range(0, len(distances), _PART):
        part = slice(begin, begin + _PART)
        apart = points[pairs.first[part]].astype(np.float64) - points[pairs.second[part]]
        distances[part] = np.sqrt(np.einsum("pd,pd->p", apart, apart))
    return distances


class Ranked:
    """Pairs sorted by distance, which have a ROC under any weights.

    Args:
        distances: float64 [P].
        pairs: The P pairs.
    """

    def __init__(self, distances: Doubles, pairs: ImagePairs) -> None:
        self._order = np.argsort(distances, kind="stable")
        ordered = distances[self._order]
        # The last pair at each distance: pairs at the same one are accepted together.
        self._ends = np.flatnonzero(np.r_[ordered[1:] > ordered[:-1], True])
        self._distance = ordered[self._ends]
        self._same = pairs.same[self._order]

    def roc(self, weights: Doubles | None = None) -> Roc:
        """The ROC of weighted pairs.

        Args:
            weights: float64 [P]. Default: all 1.

        Returns:
            The ROC.
        """
        weight = np.ones(len(self._order)) if weights is None else weights[self._order]
        accepted = np.cumsum(np.where(self._same, weight, 0.0))[self._ends]
        false = np.cumsum(np.where(self._same, 0.0, weight))[self._ends]
        return Roc(self._distance, accepted / accepted[-1], false / false[-1])


def resampled(
    ranked: Ranked, pairs: ImagePairs, labels: Ints, *, resamples: int = 200, seed: int = 0
) -> tuple[list[Roc], str, int]:
    """ROCs of bootstrap samples.

    Pairs share images and images share classes, so whole classes are resampled, or images if there
    are fewer than ten classes. A pair of two then counts as often as both were drawn.

    Args:
        ranked: The pairs by distance.
        pairs: The P pairs.
        labels: int64 [N].
        resamples: Number of samples.
        seed: Seed of the samples.

    Returns:
        The ROCs, the name of the resampled units ("classes" or "images"), and their number.
    """
    _, of_class = np.unique(labels, return_inverse=True)
    by_class = int(of_class.max()) + 1 >= CLASSES_TO_RESAMPLE
    unit = of_class if by_class else np.arange(len(labels))
    first, second = unit[pairs.first], unit[pairs.second]
    rng, count = np.random.default_rng(seed), int(unit.max()) + 1
    rocs: list[Roc] = []
    while len(rocs) < resamples:
        drawn = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
        weights = np.where(first == second, drawn[first], drawn[first] * drawn[second])
        # With few images a sample may have no pair of a kind.
        if weights[pairs.same].any() and weights[~pairs.same].any():
            rocs.append(ranked.roc(weights))
    return rocs, "classes" if by_class else "images", count
