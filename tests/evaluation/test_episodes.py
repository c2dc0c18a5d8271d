"""Episodes: drawn without repeats, evenly, from a seed; scored as a naive loop does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metricforge.errors import DataError, DivergedError
from metricforge.evaluation import Episodes, draw, eligible, episodes, score_episodes

LABELS = np.repeat(np.arange(30) * 3, np.arange(1, 31))


def naive(points, episodes, classifier):
    points = points.astype(np.float64)
    accuracy = []
    for support, queries in zip(episodes.support, episodes.queries, strict=True):
        per_class = len(queries) // len(support)
        right = 0
        for place, query in enumerate(queries):
            gaps = []
            for images in support:
                known = points[images]
                if classifier == "prototype":
                    known = known.mean(axis=0, keepdims=True)
                gaps.append(((known - points[query]) ** 2).sum(axis=1).min())
            right += int(np.argmin(gaps)) == place // per_class
        accuracy.append(right / len(queries))
    return np.array(accuracy)


@settings(max_examples=40, deadline=None)
@given(
    way=st.integers(1, 8),
    shot=st.integers(1, 4),
    queries=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_an_episode_has_distinct_images_of_distinct_classes(way, shot, queries, seed):
    drawn = draw(LABELS, way=way, shot=shot, queries=queries, episodes=6, seed=seed)
    assert drawn.support.shape == (6, way, shot)
    assert drawn.queries.shape == (6, way * queries)
    for support, asked in zip(drawn.support, drawn.queries, strict=True):
        used = [*support.ravel(), *asked]
        assert len(set(used)) == len(used)
        classes = LABELS[support]
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0])) == way
        assert (LABELS[asked].reshape(way, queries) == classes[:, :1]).all()


def test_labels_in_any_order_are_followed():
    labels = np.random.default_rng(0).permutation(LABELS)
    drawn = draw(labels, way=5, shot=2, queries=3, episodes=50)
    asked = labels[drawn.queries].reshape(50, 5, 3)
    assert (asked == labels[drawn.support][:, :, :1]).all()


def test_the_seed_decides():
    first, again, other = (
        draw(LABELS, way=5, shot=1, queries=2, episodes=20, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.support, again.support)
    assert np.array_equal(first.queries, again.queries)
    assert not np.array_equal(first.support, other.support)


def test_classes_and_images_are_drawn_evenly():
    labels = np.repeat(np.arange(6), 5)
    drawn = draw(labels, way=3, shot=1, queries=2, episodes=4000)
    # 4000 * 3 / 30 = 400 expected as support of each image; 5 standard deviations is about 95.
    np.testing.assert_allclose(np.bincount(drawn.support.ravel(), minlength=30), 400, atol=95)
    np.testing.assert_allclose(np.bincount(drawn.queries.ravel(), minlength=30), 800, atol=130)
    first = np.bincount(labels[drawn.support[:, 0, 0]], minlength=6)
    np.testing.assert_allclose(first, 4000 / 6, atol=120)


def test_only_classes_with_enough_images_take_part():
    assert eligible(LABELS, 29).tolist() == [84, 87]
    drawn = draw(LABELS, way=2, shot=9, queries=20, episodes=10)
    assert set(LABELS[drawn.support].ravel()) == {84, 87}


def test_too_few_classes_is_an_error_with_the_numbers():
    with pytest.raises(DataError, match="5-way 4-shot") as caught:
        draw(LABELS, way=5, shot=4, queries=23, episodes=1)
    assert caught.value.exit_code == 3
    assert "5 classes of at least 27 images" in str(caught.value)
    assert "4 of these 30 classes" in str(caught.value)
    assert "largest has 30" in str(caught.value)


def test_no_images_at_all_is_an_error():
    with pytest.raises(DataError, match="0 of these 0 classes"):
        draw(np.zeros(0, dtype=np.int64), way=2, shot=1, queries=1, episodes=1)


def test_hand_worked_prototype_and_nearest_differ():
    points = np.array([[0.0], [10.0], [3.0], [4.0], [9.0]], dtype=np.float32)
    episode = Episodes(np.array([[[0, 1], [2, 3]]]), np.array([[4, 4]]))
    # 9 is nearest to the image at 10 (class 0), and to the means 5 (class 0) and 3.5 (class 1).
    assert score_episodes(points, episode, "nearest").tolist() == [0.5]
    far = Episodes(episode.support, np.array([[0, 0]]))
    # 0 is its own nearest image, but lies nearer to the mean 3.5 than to the mean 5.
    assert score_episodes(points, far, "nearest").tolist() == [0.5]
    one = Episodes(np.array([[[0, 1], [2, 3]]]), np.array([[0, 2]]))
    assert score_episodes(points, one, "nearest").tolist() == [1.0]
    assert score_episodes(points, one, "prototype").tolist() == [0.5]


@pytest.mark.parametrize("classifier", ["prototype", "nearest"])
@pytest.mark.parametrize("shot", [1, 3])
def test_agrees_with_a_naive_loop(monkeypatch, classifier, shot):
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(12), 9)
    points = (rng.standard_normal((12, 4))[labels] + rng.standard_normal((108, 4))).astype("f4")
    drawn = draw(labels, way=6, shot=shot, queries=4, episodes=30)
    expected = naive(points, drawn, classifier)
    assert 0.2 < expected.mean() < 0.9
    np.testing.assert_allclose(score_episodes(points, drawn, classifier), expected, atol=1e-12)
    monkeypatch.setattr(episodes, "ENTRIES_PER_TILE", 500)
    np.testing.assert_allclose(score_episodes(points, drawn, classifier), expected, atol=1e-12)


@pytest.mark.parametrize("classifier", ["prototype", "nearest"])
@pytest.mark.parametrize("value", [0.0, 0.37, 1e30])
def test_identical_embeddings_score_exactly_chance(classifier, value):
    labels = np.repeat(np.arange(25), 8)
    points = np.full((200, 33), value, dtype=np.float32)
    drawn = draw(labels, way=20, shot=3, queries=5, episodes=40)
    assert (score_episodes(points, drawn, classifier) == 1 / 20).all()


@pytest.mark.parametrize("classifier", ["prototype", "nearest"])
def test_ties_do_not_favour_the_right_class(classifier):
    # All of two values: half of the classes tie with the right one, whichever it is.
    labels = np.repeat(np.arange(20), 10)
    points = np.random.default_rng(0).integers(0, 2, (200, 1)).astype(np.float32)
    drawn = draw(labels, way=10, shot=1, queries=5, episodes=2000)
    drawn_labels = np.random.default_rng(1).permutation(200)
    shuffled = Episodes(drawn_labels[drawn.support], drawn_labels[drawn.queries])
    assert score_episodes(points, shuffled, classifier).mean() == pytest.approx(0.1, abs=0.01)


def test_separate_clusters_score_one():
    labels = np.repeat(np.arange(8), 6)
    points = np.eye(8, dtype=np.float32)[labels]
    drawn = draw(labels, way=8, shot=1, queries=5, episodes=10)
    assert score_episodes(points, drawn, "prototype").tolist() == [1.0] * 10


def test_a_number_that_is_none_is_refused():
    points = np.ones((len(LABELS), 2), dtype=np.float32)
    points[4] = np.nan
    with pytest.raises(DivergedError, match="rows 4"):
        score_episodes(points, draw(LABELS, way=2, shot=1, queries=1, episodes=1), "nearest")
