"""Retrieval scores against hand-worked vectors, naive loops and pytorch-metric-learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from metricforge.evaluation import (
    Gallery,
    map_at_r,
    ndcg_at_r,
    neighbor_search,
    r_precision,
    recall_at,
    score_retrieval,
)

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


def naive(points, labels, k, queries=None, gallery=None):
    """The definitions, one query at a time: recall@k, R-precision, MAP@R, NDCG@R, 1 / rank."""
    rows = []
    for query in range(len(points)) if queries is None else queries:
        others = [i for i in (range(len(points)) if gallery is None else gallery) if i != query]
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
        gain = sum(hit / np.log2(rank + 1) for rank, hit in enumerate(hits[:relevant], start=1))
        ideal = sum(1 / np.log2(rank + 1) for rank in range(1, relevant + 1))
        first = 1 / (hits.index(True) + 1)
        rows.append((float(any(hits[:k])), found / relevant, total / relevant, gain / ideal, first))
    return np.array(rows)


def table(scores, k):
    """The columns of `naive`."""
    found = (scores.r_precision, scores.map_at_r, scores.ndcg_at_r, scores.reciprocal_rank)
    return np.stack([scores.recall[k], *found], axis=1)


def test_hand_worked_recall():
    assert recall_at(HITS, 1).tolist() == [1, 0, 0, 1]
    assert recall_at(HITS, 2).tolist() == [1, 1, 0, 1]
    assert recall_at(HITS, 99).tolist() == [1, 1, 1, 1]


def test_hand_worked_r_precision():
    np.testing.assert_allclose(r_precision(HITS, RELEVANT), [2 / 3, 2 / 3, 0, 1])


def test_hand_worked_map_at_r():
    expected = [(1 + 2 / 3) / 3, (1 / 2 + 2 / 3) / 3, 0, 1]
    np.testing.assert_allclose(map_at_r(HITS, RELEVANT), expected)


def test_hand_worked_ndcg_at_r():
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    whole = 1 + second + third
    expected = [(1 + third) / whole, (second + third) / whole, 0, 1]
    np.testing.assert_allclose(ndcg_at_r(HITS, RELEVANT), expected)


def test_hand_worked_line():
    points = np.array([[0.0], [1.0], [3.0], [3.5], [9.0]], dtype=np.float32)
    scores = score_retrieval(points, np.array([0, 0, 1, 0, 1]), [1, 2])
    # Nearest first: 0 -> 1 2 3 4, 1 -> 0 2 3 4, 2 -> 3 1 0 4, 3 -> 2 1 0 4, 4 -> 3 2 1 0.
    assert scores.recall[1].tolist() == [1, 1, 0, 0, 0]
    assert scores.recall[2].tolist() == [1, 1, 0, 1, 1]
    assert scores.r_precision.tolist() == [0.5, 0.5, 0, 0.5, 0]
    assert scores.map_at_r.tolist() == [0.5, 0.5, 0, 0.25, 0]
    assert scores.reciprocal_rank.tolist() == [1, 1, 1 / 4, 1 / 2, 1 / 2]


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_naive_loops(seed):
    points, labels = clustered(seed, classes=7, each=6)
    labels[:3] = [100, 101, 102]
    scores = score_retrieval(points, labels, [1, 5])
    expected = naive(points, labels, 5)
    assert scores.alone == 3
    assert len(expected) == len(scores.queries) == 39
    np.testing.assert_allclose(table(scores, 5), expected, atol=1e-12)


@pytest.mark.parametrize("deep", [256, 0], ids=["faiss", "deep"])
@pytest.mark.parametrize("shared", [0, 10], ids=["apart", "overlapping"])
def test_queries_and_a_gallery_agree_with_naive_loops(monkeypatch, deep, shared):
    monkeypatch.setattr(neighbor_search, "DEEP", deep)
    # Classes of 2 to 40 images, so that R differs.
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(8), [2, 2, 3, 5, 9, 20, 30, 40])
    points = rng.standard_normal((8, 4))[labels] + rng.standard_normal((len(labels), 4))
    order = rng.permutation(len(labels))
    labels, points = labels[order], points[order].astype(np.float32)
    queries, gallery = np.arange(40), np.arange(40 - shared, len(labels))
    scores = score_retrieval(points, labels, [3], queries=queries, gallery=gallery)
    expected = naive_answered(points, labels, queries, gallery)
    assert len(scores.queries) + scores.alone == 40
    np.testing.assert_allclose(table(scores, 3), expected, atol=1e-12)


def naive_answered(points, labels, queries, gallery):
    found = [q for q in queries if any(labels[i] == labels[q] for i in gallery if i != q)]
    return naive(points, labels, 3, found, gallery)


@pytest.mark.parametrize("deep", [256, 0], ids=["faiss", "deep"])
def test_one_query_in_the_gallery_takes_nothing_from_another(monkeypatch, deep):
    """Small galleries, of which all is searched: who is in them has one image less to find."""
    monkeypatch.setattr(neighbor_search, "DEEP", deep)
    rng = np.random.default_rng(8)
    for _ in range(60):
        labels = rng.integers(0, 3, 9)
        points = rng.standard_normal((9, 2)).astype(np.float32)
        queries = np.sort(rng.permutation(9)[: rng.integers(1, 9)])
        gallery = np.sort(rng.permutation(9)[: rng.integers(1, 9)])
        k = int(rng.integers(1, 10))
        scores = score_retrieval(points, labels, [k], queries=queries, gallery=gallery)
        found = [q for q in queries if any(labels[i] == labels[q] for i in gallery if i != q)]
        assert scores.queries.tolist() == found
        if found:
            expected = naive(points, labels, k, found, gallery)
            np.testing.assert_allclose(table(scores, k), expected, atol=1e-12)


def test_classes_of_hundreds_of_images_are_counted_right():
    points, labels = clustered(9, classes=2, each=400, dim=3, noise=1.5)
    scores = score_retrieval(points, labels, [1])
    some = np.arange(0, 800, 97)
    rows = np.searchsorted(scores.queries, some)
    np.testing.assert_allclose(table(scores, 1)[rows], naive(points, labels, 1, some), atol=1e-9)


def test_what_an_index_does_not_find_is_no_hit(monkeypatch):
    """faiss's -1 must not become the last image or its class."""
    points, labels = clustered(2, classes=4, each=6)
    real = neighbor_search.search_index

    def forgetful(index, queries, k):
        places = real(index, queries, k)
        places[:, 2:] = -1
        return places

    monkeypatch.setattr(neighbor_search, "search_index", forgetful)
    scores = score_retrieval(points, labels, [1, 5], index="hnsw")
    assert (scores.r_precision <= 2 / 5 + 1e-12).all()
    assert (scores.recall[5] <= np.minimum(1, scores.r_precision * 5)).all()
    assert 0 < scores.found <= 2 / 5


def test_the_rank_of_a_first_hit_far_beyond_the_search_is_exact():
    points = np.random.default_rng(6).standard_normal((400, 8)).astype(np.float32)
    labels = np.arange(400) // 2
    scores = score_retrieval(points, labels, [1])
    assert scores.recall[1].mean() < 0.1
    np.testing.assert_allclose(table(scores, 1), naive(points, labels, 1), atol=1e-12)


def test_the_nearest_of_each_query_is_known():
    points = np.array([[0.0], [1.0], [3.0], [3.5]], dtype=np.float32)
    scores = score_retrieval(points, np.array([0, 0, 1, 1]), [1])
    assert scores.nearest.tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_an_approximate_index_scores_nearly_as_much_and_never_more_recall(index):
    points, labels = clustered(7, classes=300, each=10, dim=16, noise=0.5)
    exact, found = (score_retrieval(points, labels, [1], index=i) for i in ("exact", index))
    again = score_retrieval(points, labels, [1], index=index)
    assert (found.map_at_r == again.map_at_r).all()
    assert 0.7 * exact.map_at_r.mean() < found.map_at_r.mean() <= exact.map_at_r.mean() + 0.01


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
    monkeypatch.setattr(neighbor_search, "QUERIES_PER_TILE", 25)
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
    # The first of 9 among 399 in any order.
    ranks = np.arange(1, 400)
    first = np.cumprod(np.r_[1, 1 - 9 / np.arange(399, 1, -1)]) * 9 / np.arange(399, 0, -1)
    expected = (first[:391] / ranks[:391]).sum()
    found = np.mean([r.reciprocal_rank.mean() for r in runs])
    assert found == pytest.approx(expected, rel=0.05)


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
    drawn = np.array(rows)
    labels = drawn[:, 2]
    scores = score_retrieval(drawn[:, :2].astype(np.float32), labels, [1, k])
    counts = np.bincount(labels)[labels]
    assert scores.queries.tolist() == np.flatnonzero(counts > 1).tolist()
    assert scores.alone == (counts == 1).sum()
    for values in (*scores.recall.values(), *table(scores, k).T):
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


def test_what_an_index_misses_is_measured_to_the_depth_that_is_scored():
    """A large class is searched deep, which finds nearly all; the small ones are not."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((4_000, 256)).astype(np.float32)
    labels = np.concatenate([np.zeros(1_000, np.int64), 1 + np.arange(3_000) // 3])
    found = score_retrieval(points, labels, [1, 8], index="hnsw").found
    gallery = Gallery(points, kind="hnsw")
    large, small = (gallery.found_share(np.flatnonzero(p), k) for p, k in
                    ((labels == 0, 999), (labels > 0, 8)))  # fmt: skip
    assert small < large - 0.01
    assert found == pytest.approx(0.25 * large + 0.75 * small, abs=0.004)
