"""What is enrolled at one time, without a model."""

from __future__ import annotations

import numpy as np
import pytest

from metricforge.evaluation import By
from metricforge.galleries.calibration import Calibration
from metricforge.galleries.state import Enrolled, State


def state(points: dict[str, list[float]]) -> State:
    """Classes of embeddings of one dimension, of which the nearest image decides."""
    enrolled = [
        Enrolled(name, f"{name}{number}", f"{name}{number}")
        for name, each in points.items()
        for number in range(len(each))
    ]
    rows = np.array([value for each in points.values() for value in each], np.float32)[:, None]
    chosen = Calibration(0.1, 10, 5, 5, "nearest", False, 2.0, 0.5, (0.0, 4.0), (1.0, 0.0))
    return State(tuple(enrolled), rows, chosen)


def test_the_nearest_classes_are_found_behind_many_images_of_one() -> None:
    held = state({"a": list(np.linspace(0, 1, 300)), "b": [3.0, 9.0], "c": [-5.0]})
    (answer,) = held.answers(np.zeros((1, 1), np.float32), top=3)
    assert [(each.name, each.distance) for each in answer.candidates] == [
        ("a", 0), ("b", 3), ("c", 5)
    ]  # fmt: skip
    assert [each.name for each in answer.neighbours] == ["a"] * 5
    assert (answer.name, answer.confidence) == ("a", 1)


@pytest.mark.fault(151)
def test_rounding_makes_nobody_known_at_the_threshold() -> None:
    """Distances of binary embeddings are few: of float32 they differ from those of float64."""
    rows = np.random.default_rng(0).choice([-1.0, 1.0], (64, 24)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    exact = np.linalg.norm(rows[1:].astype(np.float64) - rows[0], axis=1)
    images = tuple(Enrolled("a", f"{n}", f"{n}") for n in range(1))
    for threshold in np.unique(exact.round(6)):
        at = rows[1:][exact.round(6) == threshold]
        for limit in (exact[exact.round(6) == threshold].max(), threshold):
            chosen = Calibration(
                0.1, 10, 5, 5, "nearest", False, float(limit), 0.5, (0.0, 4.0), (1.0, 0.0)
            )
            held = State(images, rows[:1], chosen)
            assert {each.name for each in held.answers(at, top=1)} == {None}


def test_at_the_threshold_an_image_is_unknown() -> None:
    held = state({"a": [0.0], "b": [9.0]})
    below, at = held.answers(np.array([[1.75], [2.0]], np.float32), top=1)
    assert (below.name, below.confidence) == ("a", 0.5625)
    assert (at.name, at.candidates[0].name) == (None, "a")


def test_strays_are_nearer_to_another_class_and_have_fellows() -> None:
    held = state({"a": [0.0, 0.1, 5.1], "b": [5.0, 5.2], "alone": [9.0]})
    assert [(each.image, near) for each, near in held.strays()] == [
        ("a2", "b"),
        ("b0", "a"),
        ("b1", "a"),
    ]
    # A copy is not the image itself.
    copies = state({"a": [1.0, 7.0], "b": [1.0, 7.1]})
    assert {each.image for each, _ in copies.strays()} == {"a0", "a1", "b0", "b1"}


@pytest.mark.parametrize("by", ["mean", "nearest"])
@pytest.mark.parametrize("search", ["ivf", "hnsw"])
def test_an_approximate_search_misses_few_and_its_distances_are_exact(by: By, search: str) -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((300, 8)).repeat(8, axis=0) + 0.2 * rng.standard_normal((2400, 8))
    # Far from the origin the squares of float32 would be rounded to nothing.
    rows = (points + 3e4).astype(np.float32)
    enrolled = tuple(Enrolled(str(n // 8), str(n), str(n)) for n in range(len(rows)))
    chosen = Calibration(0.1, 300, 8, 8, by, False, 2.0, 0.5, (0.0, 4.0), (1.0, 0.0))
    queries = rows[::8] + np.float32(0.01)
    exact = State(enrolled, rows, chosen).answers(queries, 2)
    found = State(enrolled, rows, chosen, search).answers(queries, 2)  # type: ignore[arg-type]
    alike = [
        a.candidates[0].name == b.candidates[0].name for a, b in zip(exact, found, strict=True)
    ]
    assert np.mean(alike) > 0.8
    for a, b in zip(exact, found, strict=True):
        if a.candidates[0].name == b.candidates[0].name:
            assert a.candidates[0].distance == pytest.approx(b.candidates[0].distance, rel=1e-4)
        distances = [each.distance for each in b.neighbours]
        assert distances == sorted(distances)
        assert len(b.candidates) >= 1
