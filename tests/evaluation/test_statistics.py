"""Intervals: against scipy and naive loops, and by how often they cover the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from metricforge.errors import DivergedError
from metricforge.evaluation import (
    interval_of,
    over_classes,
    over_differences,
    over_episodes,
    over_queries,
    over_two_groups,
    spread,
    statistics,
    warnings_about,
)


def grouped(seed, classes, each):
    """0/1 scores whose classes differ in how hard they are; the true mean is one half."""
    rng = np.random.default_rng(seed)
    easy = rng.beta(3, 3, classes)
    labels = np.repeat(np.arange(classes), each)
    return (rng.random(len(labels)) < easy[labels]).astype(np.float64), labels


def test_the_t_interval_is_that_of_scipy():
    values = np.random.default_rng(0).beta(5, 3, 40)
    found = over_episodes(values)
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.value == pytest.approx(values.mean())
    assert (found.n, found.over) == (40, "episodes")


def test_the_class_bootstrap_resamples_whole_classes():
    values, labels = grouped(1, 30, 7)
    labels, values = labels[5:], values[5:]
    found = over_queries(values, labels)
    rng = np.random.default_rng(9)
    means = []
    for _ in range(2000):
        drawn = rng.integers(0, 30, 30)
        means.append(np.concatenate([values[labels == c] for c in drawn]).mean())
    assert found.low == pytest.approx(np.quantile(means, 0.025), abs=0.015)
    assert found.high == pytest.approx(np.quantile(means, 0.975), abs=0.015)
    assert (found.n, found.over) == (30, "classes")
    assert found.value == values.mean()


def test_few_classes_resample_queries():
    values, labels = grouped(2, 9, 40)
    found = over_queries(values, labels)
    half = 1.96 * values.std() / np.sqrt(360)
    assert found.low == pytest.approx(values.mean() - half, abs=0.012)
    assert found.high == pytest.approx(values.mean() + half, abs=0.012)
    assert (found.n, found.over) == (360, "queries")


def test_ten_classes_are_enough_to_resample_them():
    values, labels = grouped(3, 10, 4)
    assert over_queries(values, labels).over == "classes"


def test_classes_that_differ_widen_the_interval():
    labels = np.repeat(np.arange(20), 50)
    values = (labels % 2).astype(np.float64)
    clustered = over_queries(values, labels)
    alone = over_queries(values, np.arange(1000))
    assert clustered.high - clustered.low > 5 * (alone.high - alone.low)


def test_the_same_scores_give_the_same_interval_in_any_chunks(monkeypatch):
    values, labels = grouped(4, 25, 6)
    whole = over_queries(values, labels)
    assert over_queries(values, labels) == whole
    assert over_queries(values, labels, seed=1) != whole
    monkeypatch.setattr(statistics, "_ENTRIES_PER_CHUNK", 60)
    assert over_queries(values, labels) == whole


@pytest.mark.parametrize("value", [0.0, 0.05, 1.0])
def test_equal_scores_have_no_width(value):
    values = np.full(40, value)
    for found in (
        over_episodes(values),
        over_queries(values, np.arange(40) % 3),
        over_queries(values, np.arange(40) % 20),
    ):
        assert found.value == value
        assert (found.low, found.high) == pytest.approx((value, value), abs=1e-15)


def test_one_score_says_nothing():
    for found in (
        over_episodes(np.array([0.4])),
        over_queries(np.array([0.4]), np.array([7])),
    ):
        assert (found.value, found.low, found.high, found.n) == (0.4, 0.0, 1.0, 1)


def test_no_scores_are_refused():
    with pytest.raises(ValueError, match="no scores"):
        over_episodes(np.zeros(0))
    with pytest.raises(ValueError, match="no scores"):
        over_queries(np.zeros(0), np.zeros(0, dtype=np.int64))


def test_intervals_stay_within_zero_and_one():
    high = over_episodes(np.array([1.0, 1.0, 0.7]))
    low = over_episodes(np.array([0.0, 0.0, 0.3]))
    assert high.high == 1.0
    assert low.low == 0.0
    assert 0.0 < low.value < low.high


def test_the_t_interval_covers_the_truth():
    rng = np.random.default_rng(5)
    found = [over_episodes(rng.binomial(25, 0.7, 30) / 25) for _ in range(400)]
    covered = np.mean([e.low <= 0.7 <= e.high for e in found])
    # 95 % nominal, standard deviation 1.1 %.
    assert 0.915 < covered < 0.985


@pytest.mark.parametrize(("classes", "least"), [(40, 0.89), (10, 0.83)])
def test_the_class_bootstrap_covers_the_truth(classes, least):
    found = [over_queries(*grouped(100 + trial, classes, 10)) for trial in range(300)]
    covered = np.mean([e.low <= 0.5 <= e.high for e in found])
    assert least < covered < 0.985


def test_treating_queries_as_independent_would_not_cover():
    misses = 0
    for trial in range(60):
        values, labels = grouped(100 + trial, 40, 50)
        found = over_queries(values, np.arange(len(labels)))
        misses += not found.low <= 0.5 <= found.high
    assert misses > 15


def test_spread_is_a_share_of_the_length():
    ring = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=np.float32)
    assert spread(ring) == pytest.approx(1.0)
    assert spread(5 * ring) == pytest.approx(1.0)
    assert spread(0.1 * ring + [[1, 0]]) == pytest.approx(0.1 / np.sqrt(1.01))
    assert spread(np.full((7, 3), 0.1, dtype=np.float32)) == 0.0
    assert spread(np.zeros((7, 3), dtype=np.float32)) == 0.0
    assert spread(np.zeros((0, 3), dtype=np.float32)) == 0.0


def test_warnings_name_a_collapse_and_zeros():
    points = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    assert warnings_about(points) == ()
    assert "collapsed" in warnings_about(1e-5 * points + 1)[0]
    points[[3, 8]] = 0
    assert warnings_about(points) == ("2 of 50 embeddings are all zeros.",)
    assert len(warnings_about(np.zeros((5, 2), dtype=np.float32))) == 2


def test_a_number_that_is_none_is_refused():
    with pytest.raises(DivergedError, match="rows 1"):
        warnings_about(np.array([[1.0], [np.nan]], dtype=np.float32))


def test_the_mean_over_classes_counts_each_class_alike():
    labels = np.repeat(np.arange(12), np.arange(1, 13))
    values = (labels % 3 == 0).astype(float)
    found = over_classes(values, labels)
    assert found.value == pytest.approx(4 / 12)
    assert (found.over, found.n) == ("classes", 12)
    assert 0 < found.low < found.value < found.high < 1
    worse = over_differences(np.ones(20), np.zeros(20), np.arange(20))
    assert (worse.low, worse.value, worse.high) == (-1, -1, -1)
    few = over_classes(np.array([1.0, 0.0, 0.0, 0.0, 1.0]), np.array([0, 1, 1, 1, 1]))
    assert few.value == pytest.approx((1 + 1 / 4) / 2)
    assert few.over == "queries"
    # Of two classes, one of a single query, the mean of the two is what is resampled.
    many = over_classes(np.r_[1.0, np.zeros(999)], np.r_[0, np.ones(999, dtype=int)])
    assert many.value == 0.5
    assert many.low == 0
    assert many.high > 0.7
    assert over_classes(np.ones(1), np.zeros(1, dtype=int)).low == 0


def test_two_groups_of_seeds_are_compared_as_welch_does():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.5, 0.01, 4), rng.normal(0.55, 0.05, 7)
    found = over_two_groups(first, second)
    expected = stats.ttest_ind(second, first, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(second.mean() - first.mean())
    same = over_two_groups(np.ones(2), np.ones(3))
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="two of each"):
        over_two_groups(np.ones(1), np.ones(3))


@pytest.mark.fault(84)
@pytest.mark.parametrize("offset", [1.0, 1e2, 1e4])
def test_a_constant_offset_is_no_collapse(offset):
    points = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    assert warnings_about(points + np.float32(offset)) == ()


@pytest.mark.fault(84)
def test_embeddings_of_unit_length_that_differ_by_little_have_collapsed():
    points = 3e-4 * np.random.default_rng(0).standard_normal((50, 8)) + 1
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    for dtype in (np.float32, np.float64):
        (note,) = warnings_about(unit.astype(dtype))
        assert note.startswith("The embeddings have collapsed: they differ by ")
    assert warnings_about(points * 9) == ()
    # What float32 can't resolve is told whatever the length.
    (note,) = warnings_about(1e-3 * points * 0 + 1e3 + 1e-4 * points)
    assert "collapsed" in note


@pytest.mark.fault(145)
@pytest.mark.parametrize("classes", [10, 25])
def test_intervals_over_few_classes_cover_what_they_say(classes):
    """Plain percentiles cover 90 and 92 % here."""
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(classes), 6)
    covered = []
    for _ in range(400):
        share = rng.beta(0.7, 1.2, size=classes)
        values = (rng.random(len(labels)) < share[labels]).astype(float)
        found = over_queries(values, labels)
        covered.append(found.low <= 0.7 / 1.9 <= found.high)
    assert np.mean(covered) > 0.925


def test_the_quantiles_of_few_units_are_taken_farther_out():
    drawn = np.random.default_rng(0).standard_normal(200_000)
    for units in (10, 40, 1_000):
        low, high = interval_of(drawn, units)
        expected = math.sqrt(units / (units - 1)) * stats.t.ppf(0.975, units - 1)
        assert (-low, high) == pytest.approx((expected, expected), rel=0.02)
