"""Nearest-neighbour classification from some labelled images of each class."""

from __future__ import annotations

import numpy as np

from metricforge.evaluation import label_some, nearest_label


def test_some_of_each_class_are_labelled_and_the_others_asked():
    labels = np.repeat([3, 7, 9], [1, 5, 8])
    known, asked = label_some(labels, 3, np.random.default_rng(0))
    assert sorted([*known, *asked]) == list(range(14))
    assert np.bincount(labels[known]).tolist() == [0, 0, 0, 1, 0, 0, 0, 3, 0, 3]
    other, _ = label_some(labels, 3, np.random.default_rng(1))
    assert set(other) != set(known)


def test_the_nearest_gives_its_label():
    points = np.array([[0.0], [10.0], [1.0], [9.0], [4.0]])
    labels = np.array([5, 6, 5, 6, 5])
    found = nearest_label(points, labels, np.array([0, 1]), np.array([2, 3, 4]))
    assert found.tolist() == [5, 6, 5]


def test_identical_embeddings_are_told_by_chance():
    labels = np.repeat(np.arange(10), 30)
    right = []
    for seed in range(60):
        known, asked = label_some(labels, 2, np.random.default_rng(seed))
        right.append(
            (nearest_label(np.ones((300, 2)), labels, known, asked) == labels[asked]).mean()
        )
    assert 0.05 < np.mean(right) < 0.15
