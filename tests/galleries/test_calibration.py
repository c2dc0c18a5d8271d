"""The threshold of a gallery, and how sure an answer is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from metricforge.errors import DataError
from metricforge.evaluation import OpenSet, draw_trials, probe
from metricforge.galleries.calibration import Calibration, calibrate
from tests.evaluation.test_identification import classes_in_noise


def test_the_threshold_is_that_of_trials_with_as_many_classes_and_images() -> None:
    points, labels = classes_in_noise(60, 8, 0.5)
    chosen = calibrate(points, labels, [3] * 18, 0.1)
    assert (chosen.share, chosen.classes, chosen.images) == (0.1, 20, 3)
    for by in ("mean", "nearest"):
        trials = draw_trials(labels, enrolled=20, shots=[3] * 18, trials=20)
        rates = OpenSet(probe(points, labels, trials, by))
        threshold = rates.threshold((0.1 * 61 - 1) / 60)
        if by == chosen.by:
            assert chosen.threshold == threshold
            assert chosen.recognised == rates.dir(threshold)
        assert rates.dir(threshold) <= chosen.recognised


def test_the_lowest_usual_share_that_can_be_promised_is_the_default() -> None:
    points, labels = classes_in_noise(60, 4, 0.5)
    assert calibrate(points, labels, [2] * 10, None).share == 0.02
    assert calibrate(points[:80], labels[:80], [2] * 10, None).share == 0.05
    # With nine for which nothing is rounded up: twice as many classes can't be promised as much.
    assert calibrate(points[:80], labels[:80], [2] * 19, None).classes == 19


def test_there_is_no_room_to_grow_where_that_would_cost_recognition() -> None:
    points, labels = classes_in_noise(41, 8, 0.5)
    # A stranger would pass by 50 classes, of which 40 can be tried, as often as by twice 25.
    chosen = calibrate(points, labels, [4] * 30, 0.05)
    assert chosen.classes == 30
    trials = draw_trials(labels, enrolled=30, shots=[4] * 30, trials=20)
    rates = OpenSet(probe(points, labels, trials, chosen.by))
    assert chosen.threshold == rates.threshold((0.05 * 42 - 1) / 41)


@pytest.mark.parametrize(
    ("sizes", "held"),
    [
        ([1, 1, 1, 10], True),
        ([1, 1, 10], False),
        ([1, 1, 1], True),
        ([1, 1, 1, 2], True),
        ([1, 1, 2, 2], False),
        ([10] * 4, False),
        ([1] * 10, True),
        ([1] * 11, False),
        ([1] * 8 + [10] * 2, True),
        ([1] * 7 + [10] * 3, False),
    ],
)
def test_a_threshold_holds_for_no_more_and_no_larger_classes(sizes: list[int], held: bool) -> None:
    chosen = Calibration(
        0.1, 10, 10, 5, "mean", False, 2.0, 0.5, (0.0, 4.0), (1.0, 0.0), (1, 1, 1, 10)
    )
    assert chosen.holds_for(sizes) == held
    assert not replace(chosen, sizes=()).holds_for(sizes), "of an earlier version it isn't known"


def test_of_larger_classes_than_the_validation_classes_as_many_images_are_tried_as_can_be() -> None:
    points, labels = classes_in_noise(40, 4, 0.5)
    larger, tried = (calibrate(points, labels, [size] * 10, 0.1) for size in (9, 3))
    assert (larger.images, larger.tried, larger.by) == (9, 3, "mean")
    assert larger.threshold == tried.threshold or tried.by == "nearest"


def test_what_can_not_be_promised_says_what_can() -> None:
    points, labels = classes_in_noise(20, 4, 0.5)
    with pytest.raises(DataError, match=r"20 validation .* 1% .* takes 99 .* share .* is 4\.8%"):
        calibrate(points, labels, [2] * 10, 0.01)
    with pytest.raises(DataError, match="too few have an image to enrol and another that asks"):
        calibrate(points[::4], labels[::4], [1, 1], None)
    with pytest.raises(DataError, match="between 0 and 1"):
        calibrate(points, labels, [2, 2], 0.0)


def test_classes_with_more_images_than_could_be_tried_are_compared_by_their_means() -> None:
    points, labels = classes_in_noise(40, 6, 0.5)
    chosen = calibrate(points, labels, [50] * 10 + [2], 0.2)
    assert (chosen.by, chosen.images, chosen.tried) == ("mean", 50, 5)
    assert calibrate(points, labels, [3] * 10, 0.2).tried == 3
    # Classes of two kinds of images, for which the nearest image is the better answer.
    points[::2, 0] += 8
    assert calibrate(points, labels, [4] * 10, 0.2).by == "nearest"
    assert calibrate(points, labels, [6] * 9 + [2], 0.2).by == "mean"


def test_confidence_falls_with_distance_and_is_how_often_the_nearest_is_right() -> None:
    points, labels = classes_in_noise(80, 8, 0.5)
    chosen = calibrate(points, labels, [3] * 8, 0.1)
    others, theirs = classes_in_noise(200, 8, 0.5, seed=1)
    trials = draw_trials(theirs, enrolled=10, shots=3, trials=12)
    probes = probe(others, theirs, trials, chosen.by)
    confidences = np.array([chosen.confidence(d) for d in np.sort(probes.distances)])
    assert (np.diff(confidences) <= 0).all()
    stranger = probes.ranks == 0
    weights = np.where(stranger, 0.5 / stranger.sum(), 0.5 / (~stranger).sum())
    said = np.array([chosen.confidence(d) for d in probes.distances])
    for low, high in ((0.0, 0.5), (0.5, 1.01)):
        inside = (said >= low) & (said < high)
        right = np.average(probes.ranks[inside] == 1, weights=weights[inside])
        assert right == pytest.approx(np.average(said[inside], weights=weights[inside]), abs=0.1)


def test_a_promise_holds_for_several_images_together() -> None:
    """Over populations drawn anew; by one image's threshold more strangers would be known."""
    passed: list[float] = []
    for seed in range(40):
        points, labels = classes_in_noise(100, 8, 0.8, seed=seed)
        old, new = labels < 40, labels >= 40
        chosen = calibrate(points[old], labels[old], [2] * 15, 0.1, together=3)
        trials = draw_trials(labels[new], enrolled=15, shots=2, trials=4, seed=seed, together=3)
        rates = OpenSet(probe(points[new], labels[new], trials, chosen.by))
        passed.append(rates.fpir(chosen.threshold))
        single = calibrate(points[old], labels[old], [2] * 15, 0.1)
        assert chosen.threshold < single.threshold
        assert chosen.recognised > single.recognised
    error = np.std(passed) / np.sqrt(len(passed))
    assert 0.1 - 1 / 41 - 4 * error < np.mean(passed) <= 0.1 + 2 * error
    with pytest.raises(DataError, match="to enrol and 8 others that ask together"):
        calibrate(points, labels, [4], 0.1, together=8)
