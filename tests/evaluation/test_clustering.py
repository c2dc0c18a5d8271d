"""Clusters and their agreement with classes, against loops over pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metricforge.errors import DivergedError
from metricforge.evaluation import agreement, clusters_of


def test_separate_clouds_are_found_again():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 5
    points = 10 * np.eye(5)[labels] + rng.standard_normal((200, 5)) / 10
    scores = agreement(labels, clusters_of(points, 5))
    assert scores == pytest.approx({"nmi": 1, "ami": 1, "f1": 1})


def test_the_same_seed_gives_the_same_clusters():
    points = np.random.default_rng(0).standard_normal((300, 4))
    first, again = clusters_of(points, 7, seed=3), clusters_of(points, 7, seed=3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, clusters_of(points, 7, seed=4))


def test_chance_has_no_adjusted_information():
    rng = np.random.default_rng(0)
    scores = agreement(rng.integers(0, 20, 4000), rng.integers(0, 20, 4000))
    assert abs(scores["ami"]) < 0.01 < scores["nmi"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_pairwise_f1_is_that_of_a_loop(images):
    labels, clusters = np.array(images).T
    both = of_class = of_cluster = 0
    for a, b in combinations(range(len(images)), 2):
        together, found = labels[a] == labels[b], clusters[a] == clusters[b]
        both, of_class, of_cluster = (
            both + (together and found),
            of_class + together,
            of_cluster + found,
        )
    expected = 2 * both / (of_class + of_cluster) if of_class + of_cluster else 0
    assert agreement(labels, clusters)["f1"] == pytest.approx(expected)


def test_nan_is_refused():
    points = np.ones((5, 2))
    points[1] = np.nan
    with pytest.raises(DivergedError):
        clusters_of(points, 2)
