"""95 % intervals for scores that lie in [0, 1], and doubts about the embeddings behind them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from metricforge.contracts import Estimate
from metricforge.evaluation.neighbor_search import Floats, Ints, centred

Doubles = NDArray[np.float64]

CLASSES_TO_RESAMPLE = 10
"""With fewer classes than this, resampling them says little: the queries are resampled."""

COLLAPSED = 1e-3
"""Below this :func:`spread` the images can hardly be told apart in float32 and lower."""

RESAMPLES = 1_000
# About 64 MB of indices and of what they pick.
_ENTRIES_PER_CHUNK = 4_000_000


def over_episodes(values: Doubles) -> Estimate:
    """The mean of episode scores [E], with Student's t interval over episodes.

    It speaks of other episodes from the same classes. Equal scores give an interval of no
    width; one episode gives [0, 1]. Raises ValueError for no episodes.
    """
    return _student(values, "episodes")


def over_seeds(values: Doubles, *, least: float = 0.0) -> Estimate:
    """The mean of scores of repetitions from other seeds [S], with Student's t interval.

    It speaks of other seeds, on the same images; `least` is the lowest score there is. Otherwise
    as :func:`over_episodes`.
    """
    return _student(values, "seeds", least)


def _student(values: Doubles, over: str, least: float = 0.0) -> Estimate:
    count, mean = _checked(values)
    if count == 1:
        return Estimate(mean, least, 1.0, count, over)
    half = float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return _estimate(mean, mean - half, mean + half, count, over, least)


def over_queries(values: Doubles, labels: Ints, *, seed: int = 0) -> Estimate:
    """The mean of query scores [Q], with a percentile bootstrap interval.

    Queries of one class succeed or fail together, so whole classes are resampled and the
    interval speaks of other classes of the same kind; labels is [Q]. With fewer than
    CLASSES_TO_RESAMPLE classes queries are resampled, and it speaks of these classes only.
    Near that number the interval is a little narrow (a percentile bootstrap of 10 classes
    covers about 92 %). Equal scores give no width; one query gives [0, 1]. The same values and
    seed give the same interval. Raises ValueError for no queries.

    Source: Efron & Tibshirani 1993, chapters 13 and 8 (grouped data).
    """
    if len(values) == 1:
        return Estimate(float(values[0]), 0.0, 1.0, 1, "queries")
    return _resampled(values, labels, seed)


def _resampled(values: Doubles, labels: Ints, seed: int, least: float = 0.0) -> Estimate:
    count, mean = _checked(values)
    classes, inverse = np.unique(labels, return_inverse=True)
    if len(classes) < CLASSES_TO_RESAMPLE:
        return _bootstrap(mean, values, np.ones(count), seed, "queries", least)
    sums = np.asarray(np.bincount(inverse, weights=values), dtype=np.float64)
    sizes = np.bincount(inverse).astype(np.float64)
    return _bootstrap(mean, sums, sizes, seed, "classes", least)


def over_classes(values: Doubles, labels: Ints, *, seed: int = 0) -> Estimate:
    """The mean over classes of the mean of their queries [Q], with a percentile bootstrap interval.

    Each class counts alike, however many queries it has; otherwise as :func:`over_queries`.
    """
    count, _ = _checked(values)
    means = class_means(values, labels)
    mean = math.fsum(means) / len(means)
    if count == 1:
        return Estimate(mean, 0.0, 1.0, 1, "queries")
    if len(means) < CLASSES_TO_RESAMPLE:
        _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        weights = 1 / sizes[inverse]
        return _bootstrap(mean, values * weights, weights, seed, "queries", 0.0)
    return _bootstrap(mean, means, np.ones(len(means)), seed, "classes", 0.0)


def class_means(values: Doubles, labels: Ints) -> Doubles:
    """The mean of each class [C], by ascending label; values and labels [Q]."""
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(inverse, weights=values) / sizes, dtype=np.float64)


def over_differences(
    first: Doubles,
    second: Doubles,
    classes: Ints | None,
    *,
    over: str = "episodes",
    seed: int = 0,
) -> Estimate:
    """The mean of second - first, scores of two models for the same units [U], with its interval.

    Paired: what makes a query or an episode hard is the same for both and falls out. By class as
    in :func:`over_queries` where `classes` [U] are given, else as in :func:`over_episodes`, and
    `over` says what the units are. Raises ValueError for no units.
    """
    values = second - first
    if classes is None or len(values) == 1:
        return _student(values, over, least=-1.0)
    return _resampled(values, classes, seed, least=-1.0)


def over_two_groups(first: Doubles, second: Doubles) -> Estimate:
    """The mean of second less that of first, scores of trainings from other seeds [S] and [T].

    Welch's t interval, for groups of other variances and sizes; at least two seeds of each.

    Source: Welch 1947.
    """
    (n, mean), (m, other) = _checked(first), _checked(second)
    if min(n, m) < 2:
        raise ValueError("an interval over seeds needs two of each")
    a, b = first.var(ddof=1) / n, second.var(ddof=1) / m
    apart = other - mean
    if a + b == 0:
        return Estimate(apart, apart, apart, n + m, "seeds")
    degrees = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
    half = float(stats.t.ppf(0.975, degrees) * np.sqrt(a + b))
    return Estimate(apart, apart - half, apart + half, n + m, "seeds")


def spread(embeddings: Floats) -> float:
    """How far embeddings [N, D] lie from their mean, as a share of their length (both RMS).

    1 for embeddings all around the origin, 0 for identical ones. Finite for any finite input.
    """
    points = np.asarray(embeddings, dtype=np.float64)
    length = np.sqrt(np.square(points).sum(axis=1).mean()) if len(points) else 0.0
    if length == 0.0 or not centred(embeddings).any():
        return 0.0
    return float(np.sqrt(points.var(axis=0).sum()) / length)


def warnings_about(embeddings: Floats) -> tuple[str, ...]:
    """Sentences about embeddings [N, D] whose scores mean little: collapsed, or all zeros."""
    notes = []
    width = spread(embeddings)
    if len(embeddings) > 1 and width < COLLAPSED:
        notes.append(
            f"The embeddings have collapsed: they differ by {width:.1e} of their length, so the "
            "scores are chance or close to it."
        )
    zeros = int((~np.asarray(embeddings).any(axis=1)).sum())
    if zeros:
        notes.append(f"{zeros} of {len(embeddings)} embeddings are all zeros.")
    return tuple(notes)


def _bootstrap(
    mean: float, sums: Doubles, weights: Doubles, seed: int, over: str, least: float
) -> Estimate:
    """The interval of sum(sums) / sum(weights) when their entries are drawn with replacement."""
    rng = np.random.default_rng(seed)
    count = len(sums)
    rows = max(1, _ENTRIES_PER_CHUNK // count)
    means = []
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(0, count, (min(rows, RESAMPLES - start), count))
        means.append(sums[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return _estimate(mean, float(low), float(high), count, over, least)


def _estimate(
    mean: float, low: float, high: float, count: int, over: str, least: float
) -> Estimate:
    """Clamped to [least, 1], and never off the mean by a rounding error."""
    return Estimate(mean, max(least, min(low, mean)), min(1.0, max(high, mean)), count, over)


def _checked(values: Doubles) -> tuple[int, float]:
    if len(values) == 0:
        raise ValueError("no scores to take the mean of")
    # fsum rounds once: the mean of equal scores is that score.
    return len(values), math.fsum(values) / len(values)
