"""95 % intervals for scores in [0, 1], and warnings about the embeddings behind them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from metricforge.contracts import Estimate
from metricforge.evaluation.centring import Floats, centred
from metricforge.evaluation.neighbor_search import Ints

Doubles = NDArray[np.float64]

CLASSES_TO_RESAMPLE = 10
"""With fewer classes than this, a resample of them is too coarse: the queries are resampled."""

COLLAPSED = 1e-3
"""Below this :func:`spread` embeddings of unit length hardly distinguish the images."""

UNRESOLVED = 1e-5
"""Below this :func:`spread` float32 hardly distinguishes embeddings of any length."""

RESAMPLES = 1_000
# About 64 MB of indices and of the values at them.
_ENTRIES_PER_CHUNK = 4_000_000


def over_episodes(values: Doubles) -> Estimate:
    """The mean of episode scores, with Student's t interval over episodes.

    The interval covers other episodes of the same classes. Equal scores give an interval of no
    width; one episode gives [0, 1].

    Args:
        values: float64 [E].

    Returns:
        The mean and its interval.

    Raises:
        ValueError: There are no episodes.
    """
    return _student(values, "episodes")


def over_seeds(values: Doubles, *, least: float = 0.0) -> Estimate:
    """The mean of scores of repetitions with other seeds, with Student's t interval.

    The interval covers other seeds, on the same images. Otherwise as :func:`over_episodes`.

    Args:
        values: float64 [S].
        least: Lowest possible score.

    Returns:
        The mean and its interval.

    Raises:
        ValueError: There are no scores.
    """
    return _student(values, "seeds", least)


def _student(values: Doubles, over: str, least: float = 0.0) -> Estimate:
    count, mean = _checked(values)
    if count == 1:
        return Estimate(mean, least, 1.0, count, over)
    half = float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return _estimate(mean, mean - half, mean + half, count, over, least)


def over_queries(values: Doubles, labels: Ints, *, seed: int = 0) -> Estimate:
    """The mean of query scores, with an expanded percentile bootstrap interval.

    Queries of one class succeed or fail together, so whole classes are resampled and the interval
    covers other classes of the same kind. With fewer than CLASSES_TO_RESAMPLE classes queries are
    resampled, and it covers these classes only.

    Equal scores give no width; one query gives [0, 1]. The same values and seed give the same
    interval.

    Args:
        values: float64 [Q].
        labels: int64 [Q].
        seed: Seed of the resamples.

    Returns:
        The mean and its interval.

    Raises:
        ValueError: There are no queries.

    Reference: Efron & Tibshirani 1993, chapters 13 and 8 (grouped data); Hesterberg 2015.
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
    """The mean over classes of the mean of their queries, with a bootstrap interval.

    Each class has the same weight, however many queries it has. Otherwise as :func:`over_queries`.

    Args:
        values: float64 [Q].
        labels: int64 [Q].
        seed: Seed of the resamples.

    Returns:
        The mean and its interval.

    Raises:
        ValueError: There are no queries.
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
    """The mean of each class, by ascending label.

    Args:
        values: float64 [Q].
        labels: int64 [Q].

    Returns:
        float64 [C].
    """
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
    """The mean of second - first, scores of two models for the same units, with its interval.

    Paired: what makes a query or an episode hard is the same for both and cancels. The interval is
    by class as in :func:`over_queries` if `classes` is given, else as in :func:`over_episodes`.

    Args:
        first: float64 [U].
        second: float64 [U].
        classes: int64 [U], or None.
        over: Name of the units.
        seed: Seed of the resamples.

    Returns:
        The mean difference and its interval.

    Raises:
        ValueError: There are no units.
    """
    values = second - first
    if classes is None or len(values) == 1:
        return _student(values, over, least=-1.0)
    return _resampled(values, classes, seed, least=-1.0)


def over_two_groups(first: Doubles, second: Doubles) -> Estimate:
    """The mean of second minus that of first, scores of trainings with other seeds.

    Welch's t interval, for groups of different variances and sizes.

    Args:
        first: float64 [S], two seeds or more.
        second: float64 [T], two seeds or more.

    Returns:
        The difference and its interval.

    Raises:
        ValueError: A group has fewer than two seeds.

    Reference: Welch 1947.
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
    """The distance of embeddings from their mean, as a fraction of their length (both RMS).

    1 for embeddings all around the origin, 0 for identical ones.

    Args:
        embeddings: [N, D].

    Returns:
        A finite value for any finite input.
    """
    points = np.asarray(embeddings, dtype=np.float64)
    length = np.sqrt(np.square(points).sum(axis=1).mean()) if len(points) else 0.0
    if length == 0.0 or not centred(embeddings).any():
        return 0.0
    return float(np.sqrt(points.var(axis=0).sum()) / length)


def warnings_about(embeddings: Floats) -> tuple[str, ...]:
    """Warnings about embeddings whose scores mean little: collapsed, or all zeros.

    Args:
        embeddings: [N, D].

    Returns:
        A sentence for each.
    """
    notes = []
    width = spread(embeddings)
    # Those of free length may lie anywhere: a constant offset is no collapse.
    lengths = np.linalg.norm(np.asarray(embeddings, np.float64), axis=1)
    least = COLLAPSED if np.allclose(lengths, 1, atol=0.01) else UNRESOLVED
    if len(embeddings) > 1 and width < least:
        notes.append(
            f"The embeddings have collapsed: they differ by {width:.1e} of their length, which a "
            "lower precision, and an approximate search, can't distinguish."
        )
    zeros = int((~np.asarray(embeddings).any(axis=1)).sum())
    if zeros:
        notes.append(f"{zeros} of {len(embeddings)} embeddings are all zeros.")
    return tuple(notes)


def over_resamples(value: float, resampled: Doubles, units: int, over: str) -> Estimate:
    """A metric in [0, 1], with the interval of its values in bootstrap samples.

    Args:
        value: The metric.
        resampled: float64 [R].
        units: The number of units that were resampled, 2 or more.
        over: Name of the units.
    """
    return _estimate(value, *interval_of(resampled, units), units, over, 0.0)


def interval_of(resampled: Doubles, units: int) -> tuple[float, float]:
    """The ends of the 95 % interval of a metric, from its values in bootstrap samples.

    Expanded percentiles: a resample of few units varies less than the units do, and its quantiles
    are those of a normal distribution where Student's t is due. So the quantiles are taken farther
    out, 0.9 % and 99.1 % for ten units.

    Args:
        resampled: float64 [R].
        units: The number of units that were resampled, 2 or more.

    Reference: Hesterberg, What Teachers Should Know About the Bootstrap, 2015.
    """
    expanded = math.sqrt(units / (units - 1)) * stats.t.ppf(0.975, units - 1)
    level = float(stats.norm.sf(expanded))
    low, high = np.quantile(resampled, (level, 1 - level))
    return float(low), float(high)


def _bootstrap(
    mean: float, sums: Doubles, weights: Doubles, seed: int, over: str, least: float
) -> Estimate:
    """The interval of sum(sums) / sum(weights) if their entries are drawn with replacement."""
    rng = np.random.default_rng(seed)
    count = len(sums)
    rows = max(1, _ENTRIES_PER_CHUNK // count)
    means = []
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(0, count, (min(rows, RESAMPLES - start), count))
        means.append(sums[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    low, high = interval_of(np.concatenate(means), count)
    return _estimate(mean, low, high, count, over, least)


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
