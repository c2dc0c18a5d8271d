"""Distances that a cohort normalises, against a naive loop, and what that is good for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metricforge.evaluation import Cohort, OpenSet, draw_trials, probe
from metricforge.galleries.calibration import calibrate
from tests.evaluation.test_identification import classes_in_noise


def naive(cohort, point):
    distances = sorted(math.dist(each.astype(float), point) for each in cohort)[:50]
    return sum(distances) / len(distances)


@pytest.mark.parametrize("count", [3, 200])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_the_distance_to_a_cohort_is_that_of_a_naive_loop(count, offset):
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((count, 5)) + offset).astype(np.float32)
    points = (rng.standard_normal((7, 5)) + offset).astype(np.float32)
    expected = [naive(rows, point.astype(float)) for point in points]
    np.testing.assert_allclose(
        Cohort(rows).distances(points), expected, rtol=2e-3 if offset else 1e-5
    )


@pytest.mark.parametrize("together", [1, 3])
def test_a_cohort_is_subtracted_and_changes_no_rank(together):
    points, labels = classes_in_noise(9, 8, 0.7)
    rows, _ = classes_in_noise(30, 8, 0.7, seed=1)
    trials = draw_trials(labels, enrolled=4, shots=2, trials=3, together=together)
    plain = probe(points, labels, trials, "mean")
    normalised = plain.less(points, Cohort(rows))
    assert (plain.ranks == normalised.ranks).all()
    asked = [points[group].astype(float).mean(axis=0) for t in trials for group in t.probes]
    offsets = [naive(rows, point) for point in asked]
    np.testing.assert_allclose(plain.distances - normalised.distances, offsets, rtol=1e-5)


def of_uneven_quality(classes, seed):
    """Images of which some are far from everything, e.g. blurred ones."""
    points, labels = classes_in_noise(classes, 8, 0.4, seed=seed)
    rng = np.random.default_rng([seed, 1])
    blur = rng.uniform(0, 0.5, (len(points), 1)) * rng.standard_normal((len(points), 30))
    return np.concatenate([points, blur], axis=1).astype(np.float32), labels


def test_validation_prefers_a_cohort_where_images_are_of_uneven_quality_and_the_promise_holds():
    passed = []
    for seed in range(30):
        points, labels = of_uneven_quality(120, seed)
        old, middle, new = labels < 40, (labels >= 40) & (labels < 60), labels >= 60
        cohort = Cohort(points[middle])
        chosen = calibrate(points[old], labels[old], [3] * 15, 0.1, cohort=cohort)
        plain = calibrate(points[old], labels[old], [3] * 15, 0.1)
        assert chosen.normalised
        assert chosen.recognised > plain.recognised + 0.05
        trials = draw_trials(labels[new], enrolled=15, shots=3, trials=4, seed=seed)
        rates = OpenSet(
            probe(points[new], labels[new], trials, chosen.by).less(points[new], cohort)
        )
        passed.append(rates.fpir(chosen.threshold))
    error = np.std(passed) / math.sqrt(len(passed))
    assert 0.1 - 1 / 41 - 4 * error < np.mean(passed) <= 0.1 + 2 * error


def test_where_all_classes_are_alike_a_cohort_is_of_no_use():
    points, labels = classes_in_noise(100, 8, 0.5, dim=12)
    far = np.zeros((60, 12), np.float32) + np.eye(12, dtype=np.float32)[0] * 1e3
    near = far + np.random.default_rng(0).normal(0, 30, far.shape).astype(np.float32)
    chosen = calibrate(points[:400], labels[:400], [3] * 15, 0.1, cohort=Cohort(near))
    assert not chosen.normalised
