"""What is enrolled at one time, without a model."""

from __future__ import annotations

import numpy as np

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
    chosen = Calibration(0.1, 10, 5, 5, "nearest", 2.0, 0.5, (0.0, 4.0), (1.0, 0.0))
    return State(tuple(enrolled), rows, chosen)


def test_the_nearest_classes_are_found_behind_many_images_of_one() -> None:
    held = state({"a": list(np.linspace(0, 1, 300)), "b": [3.0, 9.0], "c": [-5.0]})
    (answer,) = held.answers(np.zeros((1, 1), np.float32), top=3)
    assert [(each.name, each.distance) for each in answer.candidates] == [
        ("a", 0), ("b", 3), ("c", 5)
    ]  # fmt: skip
    assert [each.name for each in answer.neighbours] == ["a"] * 5
    assert (answer.name, answer.confidence) == ("a", 1)


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
