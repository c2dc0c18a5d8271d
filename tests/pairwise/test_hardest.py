"""The hardest of each image, from one half of the distances, against a naive loop in float64."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metricforge.pairwise import Tiling, hardest, tiling


@pytest.fixture(params=[1, 3, 1000, "in one piece"], autouse=True)
def height(request, monkeypatch):
    if request.param == "in one piece":
        return
    # The function has the name of its module.
    module = importlib.import_module("metricforge.pairwise.hardest")
    monkeypatch.setattr(module, "UNTILED", 0)
    monkeypatch.setattr(tiling, "FEWEST_ANCHORS", request.param)
    monkeypatch.setattr(tiling, "ON_CPU", 1)


def check(embeddings, labels):
    """Farthest and nearest are as far and as near as those of the loop; ties may differ."""
    tiles = Tiling(embeddings, labels)
    farthest, nearest = (tiles.places(rows).tolist() for rows in hardest(tiles))
    points, classes = embeddings.double().tolist(), labels.tolist()
    for row, a in enumerate(tiles.places(torch.arange(len(classes))).tolist()):
        apart = [math.dist(points[a], point) for point in points]
        together = [d for b, d in enumerate(apart) if classes[b] == classes[a] and b != a]
        others = [d for b, d in enumerate(apart) if classes[b] != classes[a]]
        if together:
            assert classes[farthest[row]] == classes[a]
            assert farthest[row] != a
            assert apart[farthest[row]] == pytest.approx(max(together), abs=1e-6)
        if others:
            assert classes[nearest[row]] != classes[a]
            assert apart[nearest[row]] == pytest.approx(min(others), abs=1e-6)


@pytest.mark.parametrize("classes", [1, 2, 7, 300])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 40, 301])
def test_the_hardest_are_those_of_the_loop(count, classes):
    rng = torch.Generator().manual_seed(count)
    embeddings = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    check(embeddings, torch.randint(classes, (count,), generator=rng))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3), st.integers(0, 2)), max_size=24))
def test_ties_and_duplicates(images):
    labels = torch.tensor([image[0] for image in images], dtype=torch.int64)
    check(torch.tensor([image[1:] for image in images]).reshape(-1, 2).double(), labels)


@pytest.mark.parametrize("per_class", [2, 3, 20])
def test_of_nan_embeddings_the_labels_are_right_all_the_same(per_class):
    embeddings, labels = torch.randn(60, 4), torch.arange(60) // per_class
    embeddings[7, 0] = torch.nan
    farthest, nearest = hardest(Tiling(embeddings, labels))
    assert (labels[farthest] == labels).all()
    assert (farthest != torch.arange(60)).all()
    assert (labels[nearest] != labels).all()


@pytest.mark.parametrize("upper", [False, True])
def test_the_upper_triangle_has_the_same_distances(upper):
    rng = torch.Generator().manual_seed(0)
    embeddings = torch.randn(23, 4, generator=rng)
    tiles = Tiling(embeddings, torch.arange(23) % 5)
    exact = torch.cdist(tiles.rows.double(), tiles.rows.double()).square()
    seen = 0
    for tile in tiles.squared_distances(upper):
        assert tile.first == (tile.rows[0] if upper else 0)
        expected = exact[tile.own, tile.first :]
        assert torch.allclose(tile.values.double(), expected, atol=1e-5)
        near = exact[tile.own, tile.window]
        assert torch.allclose(tile.near.double(), near, atol=1e-5)
        seen += tile.values.numel()
    assert (seen < 23 * 23) == (upper and tiles.height < 23)
