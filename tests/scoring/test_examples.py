"""Which queries a report shows, and with which answers."""

from __future__ import annotations

import numpy as np
import torch

from metricforge.contracts import Answers, Labelled
from metricforge.evaluation import score_retrieval
from metricforge.scoring.examples import CLASSES, NEAREST, examples


def clusters(classes: int, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes of growing spread, so that the first is retrieved best."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), per_class)
    spread = 0.05 + 0.25 * labels[:, None]
    points = rng.standard_normal((classes, 8))[labels] + spread * rng.standard_normal(
        (len(labels), 8)
    )
    return points.astype(np.float32), labels


def answered(points: np.ndarray, labels: np.ndarray, **flags: np.ndarray) -> Answers:
    scores = score_retrieval(points, labels, [1], **flags)
    return Answers(scores.queries, scores.nearest, scores.map_at_r)


def labelled(labels: np.ndarray, **flags: torch.Tensor) -> Labelled:
    names = tuple(f"class {label}" for label in range(labels.max() + 1))
    return Labelled(torch.from_numpy(labels), names, **flags)


def test_classes_from_the_best_to_the_worst_by_the_query_of_median_score() -> None:
    points, labels = clusters(17, 9)
    answers = answered(points, labels)
    shown = examples(answers, points, labelled(labels))
    means = np.array([answers.scores[labels == name].mean() for name in range(17)])
    chosen = [int(labels[example.query]) for example in shown]
    order = np.argsort(-means, kind="stable").tolist()
    assert [order.index(name) for name in chosen] == [0, 3, 6, 10, 13, 16]
    for example in shown:
        of_class = np.sort(answers.scores[labels == labels[example.query]])
        assert answers.scores[example.query] == of_class[4]


def test_the_images_are_the_nearest_others_and_the_first_is_the_answer() -> None:
    points, labels = clusters(4, 5)
    answers = answered(points, labels)
    shown = examples(answers, points, labelled(labels))
    assert len(shown) == 4 < CLASSES
    for example in shown:
        squared = np.square(points.astype(np.float64) - points[example.query]).sum(axis=1)
        squared[example.query] = np.inf
        assert example.nearest == tuple(np.argsort(squared)[:NEAREST])
        assert example.nearest[0] == answers.nearest[answers.queries == example.query]


def test_queries_are_answered_from_the_gallery_alone() -> None:
    points, labels = clusters(3, 6)
    is_query = np.arange(len(labels)) % 3 == 0
    flags = {"queries": np.flatnonzero(is_query), "gallery": np.flatnonzero(~is_query)}
    answers = answered(points, labels, **flags)
    tensor = torch.from_numpy(is_query)
    shown = examples(answers, points, labelled(labels, queries=tensor, gallery=~tensor))
    assert len(shown) == 3
    for example in shown:
        assert is_query[example.query]
        assert len(example.nearest) == NEAREST
        assert not is_query[list(example.nearest)].any()


def test_two_images_of_one_class_have_one_answer_each() -> None:
    points = np.array([[0.0], [1.0]], np.float32)
    labels = np.zeros(2, np.int64)
    shown = examples(answered(points, labels), points, labelled(labels))
    assert [(example.query, example.nearest) for example in shown] == [(0, (1,))]
