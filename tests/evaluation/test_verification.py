"""Verification against loops over all pairs and sklearn's curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from metricforge.evaluation import ImagePairs, Ranked, distances_of, draw_pairs, resampled


def ranked(distances, same):
    place = np.arange(len(same))
    return Ranked(np.array(distances, dtype=float), ImagePairs(place, place, np.array(same)))


def test_a_curve_worked_by_hand():
    # One class: 1, 2, 4. Two classes: 2, 3, 5.
    roc = ranked([1, 2, 4, 2, 3, 5], [True, True, True, False, False, False]).roc()
    assert roc.distance.tolist() == [1, 2, 3, 4, 5]
    assert roc.accepted.tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1, 1])
    assert roc.false.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1])
    # Of nine comparisons 1 wins three, 2 wins two and ties one, 4 wins one.
    assert roc.area == pytest.approx(6.5 / 9)
    # At distance 2 a third is accepted falsely, and a third rejected.
    assert roc.equal_error[0] == pytest.approx(1 / 3)
    assert [roc.accepted_at(rate) for rate in (0, 0.3, 0.34, 0.7)] == pytest.approx(
        [1 / 3, 1 / 3, 2 / 3, 1]
    )


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_sklearns_ties_included(pairs):
    distances, same = zip(*pairs, strict=True)
    if all(same) or not any(same):
        return
    roc = ranked(distances, same).roc()
    assert roc.area == pytest.approx(roc_auc_score(same, -np.array(distances)))
    assert 0 <= roc.equal_error[0] <= 1


def test_identical_embeddings_are_a_coin_toss():
    labels = np.arange(40) % 4
    pairs = draw_pairs(labels)
    roc = Ranked(distances_of(np.ones((40, 3)), pairs), pairs).roc()
    assert roc.area == 0.5
    assert roc.equal_error[0] == pytest.approx(0.5)
    assert roc.accepted_at(0.1) == 0


def test_weights_count_pairs_as_often():
    distances, same = [1, 2, 4, 2, 3, 5], [True, True, True, False, False, False]
    weights = np.array([2, 0, 1, 3, 1, 1])
    again = np.repeat(distances, weights), np.repeat(same, weights)
    weighted, repeated = ranked(distances, same).roc(weights), ranked(*again).roc()
    assert weighted.area == pytest.approx(repeated.area)


def test_all_pairs_when_they_are_few():
    labels = np.array([0, 0, 1])
    pairs = draw_pairs(labels)
    assert list(zip(pairs.first, pairs.second, pairs.same, strict=True)) == [
        (0, 1, True),
        (0, 2, False),
        (1, 2, False),
    ]
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    found = distances_of(points, pairs)
    assert found / found[0] == pytest.approx([1, 1 / 5, math.sqrt(18) / 5])


def test_drawn_pairs_are_as_likely_as_each_other_and_of_the_kind_they_say():
    labels = np.repeat([0, 1, 2], [2, 10, 1])
    pairs = draw_pairs(labels, most=70)
    assert len(pairs.same) == 70
    assert pairs.same.sum() == 35
    assert (pairs.first != pairs.second).all()
    assert ((labels[pairs.first] == labels[pairs.second]) == pairs.same).all()
    shares = []
    for seed in range(200):
        drawn = draw_pairs(labels, most=70, seed=seed)
        shares.append((labels[drawn.first[drawn.same]] == 0).mean())
    # One of 46 pairs of a class is of the class of two.
    assert np.mean(shares) == pytest.approx(1 / 46, abs=0.005)


@pytest.mark.parametrize(("classes", "over"), [(4, "images"), (25, "classes")])
def test_intervals_say_what_was_resampled_and_repeat(classes, over):
    rng = np.random.default_rng(0)
    labels = np.arange(100) % classes
    pairs = draw_pairs(labels)
    curve = Ranked(distances_of(rng.standard_normal((100, 4)), pairs), pairs)
    first, second = (resampled(curve, pairs, labels, resamples=30) for _ in range(2))
    assert first[1:] == (over, classes if over == "classes" else 100)
    assert [roc.area for roc in first[0]] == [roc.area for roc in second[0]]
    areas = [roc.area for roc in first[0]]
    assert min(areas) < curve.roc().area < max(areas)


def test_a_pair_of_two_classes_counts_as_often_as_both_were_drawn():
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(12), 3)
    pairs = draw_pairs(labels)
    distances = rng.random(len(pairs.first))
    found, _, _ = resampled(Ranked(distances, pairs), pairs, labels, resamples=3, seed=5)
    draws = np.random.default_rng(5)
    for roc in found:
        drawn = np.bincount(draws.integers(0, 12, 12), minlength=12)
        # The sample itself, written out: each pair as many times as it counts.
        times = [
            drawn[labels[a]] if same else drawn[labels[a]] * drawn[labels[b]]
            for a, b, same in zip(pairs.first, pairs.second, pairs.same, strict=True)
        ]
        again = np.repeat(np.arange(len(distances)), times)
        area = roc_auc_score(pairs.same[again], -distances[again])
        assert roc.area == pytest.approx(area)


def test_an_imbalanced_set_gives_pairs_of_two_classes_at_once():
    labels = np.r_[np.zeros(4000, dtype=int), 1]
    pairs = draw_pairs(labels, 1000)
    apart = ~pairs.same
    assert apart.sum() == 500
    one = np.where(pairs.first[apart] == 4000, pairs.second[apart], pairs.first[apart])
    assert (one < 4000).all()
    assert len(np.unique(one)) > 400
