"""Retrieval scores against hand-worked vectors, naive loops and pytorch-metric-learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from metricforge.evaluation import map_at_r, r_precision, recall_at, score_retrieval, search

HITS = np.array([[1, 0, 1, 0], [0, 1, 1, 1], [0, 0, 0, 1], [1, 1, 0, 0]], dtype=bool)
RELEVANT = np.array([3, 3, 1, 2])


def clustered(seed, classes=12, each=9, dim=6, noise=0.8):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = rng.standard_normal((classes, dim))
    points = centres[labels] + noise * rng.standard_normal((len(labels), dim))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    shuffled = rng.permutation(len(labels))
    return points[shuffled].astype(np.float32), labels[shuffled]


def naive(points, labels, k):
    """The definitions, one query at a time: recall@k, R-precision, MAP@R."""
    rows = []
    for query in range(len(points)):
        others = [i for i in range(len(points)) if i != query]
        squared = ((points[others].astype(np.float64) - points[query]) ** 2).sum(axis=1)
        ranked = [others[i] for i in np.argsort(squared)]
        hits = [labels[i] == labels[query] for i in ranked]
        relevant = sum(hits)
        if relevant == 0:
            continue
        found, total = 0, 0.0
        for rank, hit in enumerate(hits[:relevant], start=1):
            found += hit
            total += hit * found / rank
        rows.append((float(any(hits[:k])), found / relevant, total / relevant))
    return np.array(rows)


def test_hand_worked_recall():
    assert recall_at(HITS, 1).tolist() == [1, 0, 0, 1]
    assert recall_at(HITS, 2).tolist() == [1, 1, 0, 1]
    assert recall_at(HITS, 99).tolist() == [1, 1, 1, 1]


def test_hand_worked_r_precision():
    np.testing.assert_allclose(r_precision(HITS, RELEVANT), [2 / 3, 2 / 3, 0, 1])


def test_hand_worked_map_at_r():
    expected = [(1 + 2 / 3) / 3, (1 / 2 + 2 / 3) / 3, 0, 1]
    np.testing.assert_allclose(map_at_r(HITS, RELEVANT), expected)


def test_hand_worked_line():
    points = np.array([[0.0], [1.0], [3.0], [3.5], [9.0]], dtype=np.float32)
    scores = score_retrieval(points, np.array([0, 0, 1, 0, 1]), [1, 2])
    # Nearest first: 0 -> 1 2 3 4, 1 -> 0 2 3 4, 2 -> 3 1 0 4, 3 -> 2 1 0 4, 4 -> 3 2 1 0.
    assert scores.recall[1].tolist() == [1, 1, 0, 0, 0]
    assert scores.recall[2].tolist() == [1, 1, 0, 1, 1]
    assert scores.r_precision.tolist() == [0.5, 0.5, 0, 0.5, 0]
    assert scores.map_at_r.tolist() == [0.5, 0.5, 0, 0.25, 0]


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_naive_loops(seed):
    points, labels = clustered(seed, classes=7, each=6)
    labels[:3] = [100, 101, 102]
    scores = score_retrieval(points, labels, [1, 5])
    expected = naive(points, labels, 5)
    assert scores.alone == 3
    assert len(expected) == len(scores.queries) == 39
    found = np.stack([scores.recall[5], scores.r_precision, scores.map_at_r], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_pytorch_metric_learning(seed):
    points, labels = clustered(seed)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
    )
    theirs = calculator.get_accuracy(torch.from_numpy(points), torch.from_numpy(labels))
    ours = score_retrieval(points, labels, [1])
    assert 0.1 < ours.map_at_r.mean() < 0.9
    assert ours.recall[1].mean() == pytest.approx(theirs["precision_at_1"])
    assert ours.r_precision.mean() == pytest.approx(theirs["r_precision"])
    assert ours.map_at_r.mean() == pytest.approx(theirs["mean_average_precision_at_r"])


def test_tiles_change_nothing(monkeypatch):
    points, labels = clustered(4)
    whole = score_retrieval(points, labels, [1, 8])
    monkeypatch.setattr(search, "QUERIES_PER_TILE", 25)
    tiled = score_retrieval(points, labels, [1, 8])
    assert tiled.map_at_r.tolist() == whole.map_at_r.tolist()
    assert tiled.queries.tolist() == whole.queries.tolist()


@pytest.mark.parametrize("order", ["by class", "interleaved"])
def test_identical_embeddings_score_chance(order):
    labels = np.repeat(np.arange(40), 10) if order == "by class" else np.tile(np.arange(40), 10)
    points = np.full((400, 8), 0.3, dtype=np.float32)
    runs = [score_retrieval(points, labels, [1, 4], seed=seed) for seed in range(20)]
    chance = 9 / 399
    assert np.mean([r.recall[1].mean() for r in runs]) == pytest.approx(chance, abs=0.005)
    assert np.mean([r.r_precision.mean() for r in runs]) == pytest.approx(chance, abs=0.005)
    assert np.mean([r.recall[4].mean() for r in runs]) == pytest.approx(4 * chance, abs=0.02)


def test_perfect_clusters_score_one():
    labels = np.repeat(np.arange(5), 4)
    points = np.eye(5, dtype=np.float32)[labels]
    scores = score_retrieval(points, labels, [1])
    assert scores.map_at_r.tolist() == scores.recall[1].tolist() == [1.0] * 20


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(-1, 1), st.integers(-1, 1), st.integers(0, 4)),
        min_size=1,
        max_size=25,
    ),
    k=st.integers(1, 40),
)
def test_odd_inputs_give_scores_in_range(rows, k):
    table = np.array(rows)
    labels = table[:, 2]
    scores = score_retrieval(table[:, :2].astype(np.float32), labels, [1, k])
    counts = np.bincount(labels)[labels]
    assert scores.queries.tolist() == np.flatnonzero(counts > 1).tolist()
    assert scores.alone == (counts == 1).sum()
    for values in (*scores.recall.values(), scores.r_precision, scores.map_at_r):
        assert values.shape == scores.queries.shape
        assert ((values >= 0) & (values <= 1)).all()
    assert (scores.map_at_r <= scores.r_precision + 1e-12).all()
    assert (scores.recall[k] >= scores.recall[1]).all()
    if k >= len(rows) - 1:
        assert (scores.recall[k] == 1).all()


def test_one_class_is_always_right():
    points = np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)
    assert score_retrieval(points, np.zeros(12, dtype=np.int64), [1]).map_at_r.mean() == 1.0


def test_labels_must_match_the_embeddings():
    with pytest.raises(ValueError, match="3 embeddings have 2 labels"):
        score_retrieval(np.ones((3, 2), dtype=np.float32), np.zeros(2, dtype=np.int64), [1])
