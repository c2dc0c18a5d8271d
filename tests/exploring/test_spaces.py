"""Maps and neighbours of embeddings, against plain loops in float64."""

from __future__ import annotations

import numpy as np
import pytest

from metricforge.exploring.spaces import (
    NEAREST,
    Space,
    by_tsne,
    distance_from_class,
    maps_of,
    principal,
    within_one,
)

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((60, 7)).astype(np.float32)
LABELS = np.repeat(np.arange(20), 3)


def test_neighbours_and_distances_are_those_of_a_loop() -> None:
    space = Space.of("trained", ROWS, LABELS)
    assert space.nearest.shape == (60, NEAREST)
    for i, row in enumerate(ROWS.astype(np.float64)):
        distances = np.sqrt(((ROWS.astype(np.float64) - row) ** 2).sum(axis=1))
        distances[i] = np.inf
        order = distances.argsort()[:NEAREST]
        assert space.nearest[i].tolist() == order.tolist()
        np.testing.assert_allclose(space.distances[i], distances[order], rtol=1e-6)


def test_the_distance_from_a_class_leaves_the_image_itself_out() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    points = RNG.standard_normal((6, 3))
    found = distance_from_class(points, labels)
    for i in range(5):
        others = [j for j in range(6) if labels[j] == labels[i] and j != i]
        expected = np.linalg.norm(points[i] - points[others].mean(axis=0))
        assert found[i] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(found[5])


def test_principal_components_are_those_of_the_singular_values() -> None:
    points = ROWS.astype(np.float64) * np.arange(1, 8)
    found = principal(points)
    centred = points - points.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(left * values), atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 5), (3, 1), (4, 2), (9, 3)])
def test_few_images_have_a_map(shape: tuple[int, int]) -> None:
    maps = maps_of(RNG.standard_normal(shape))
    for places in maps.values():
        assert places.shape == (shape[0], 2)
        assert np.isfinite(places).all()
        assert np.abs(places).max() == pytest.approx(1, abs=1e-6)
    assert list(maps)[-1] == "PCA"


def test_equal_embeddings_lie_in_the_middle() -> None:
    assert not maps_of(np.ones((3, 4)))["PCA"].any()


def test_both_axes_have_one_scale() -> None:
    places = within_one(np.array([[0.0, 0.0], [4.0, 1.0]]))
    assert places.tolist() == [[-1.0, -0.25], [1.0, 0.25]]


def test_tsne_keeps_groups_together() -> None:
    centres = 10 * RNG.standard_normal((4, 7))
    points = np.repeat(centres, 15, axis=0) + 0.1 * RNG.standard_normal((60, 7))
    groups = np.repeat(np.arange(4), 15)
    places = by_tsne(principal(points))
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (groups[apart.argmin(axis=1)] == groups).all()
    np.testing.assert_array_equal(places, by_tsne(principal(points)))
