"""Tiles of a batch against naive loops: values, windows, near-duplicates, gradients."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metricforge.pairwise import Classes, Gradient, Tiling, scored, tiling
from metricforge.pairwise.classes import _KNOWN

quick = settings(deadline=None, max_examples=60)


@pytest.fixture(params=[1, 3, 1000], autouse=True)
def height(request, monkeypatch):
    monkeypatch.setattr(tiling, "FEWEST_ANCHORS", request.param)
    monkeypatch.setattr(tiling, "ON_CPU", 1)


def batch_of(count, classes, dim=4, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dim, generator=rng, dtype=torch.float64).to(dtype)
    return rows, torch.randint(classes, (count,), generator=rng)


def whole(tiling_, tiles):
    """All tiles as one matrix [B, B] of the batch as it came, and which are of a class there."""
    count = len(tiling_.rows)
    values = torch.full((count, count), torch.nan, dtype=tiling_.rows.dtype)
    same = torch.zeros(count, count, dtype=torch.bool)
    places = tiling_.places(torch.arange(count))
    for tile in tiles:
        assert tile.own.tolist() == tile.rows.tolist()
        values[places[tile.own][:, None], places] = tile.values
        same[places[tile.own][:, None], places[tile.window]] = tile.same
    return values, same


@pytest.mark.parametrize(("count", "classes"), [(1, 1), (2, 2), (7, 1), (23, 4), (23, 50)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_tiles_are_the_distances_and_products_of_the_loop(count, classes, dtype):
    embeddings, labels = batch_of(count, classes, dtype=dtype)
    rows = embeddings.double().tolist()
    tiles = Tiling(embeddings, labels)
    squared, same = whole(tiles, tiles.squared_distances())
    products, _ = whole(tiles, tiles.similarities())
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for a in range(count):
        for b in range(count):
            expected = math.dist(rows[a], rows[b]) ** 2
            assert float(squared[a, b]) == pytest.approx(expected, abs=tolerance)
            dot = sum(x * y for x, y in zip(rows[a], rows[b], strict=True))
            assert float(products[a, b]) == pytest.approx(dot, abs=tolerance)
            assert bool(same[a, b]) == bool(labels[a] == labels[b])
    assert bool((squared.diagonal() == 0).all())


@pytest.mark.parametrize("anchors", [0, 1, 5, 23, 99])
def test_anchors_are_the_first_images_of_the_batch(anchors):
    embeddings, labels = batch_of(23, 4)
    tiles = Tiling(embeddings, labels, anchors)
    shown = [int(i) for tile in tiles.squared_distances() for i in tiles.places(tile.own)]
    assert sorted(shown) == list(range(min(anchors, 23)))


def test_what_is_near_is_accurate_in_float32_wherever_it_lies():
    # One product of matrices would have errors of 1e-6 x 300^2 here, and 1e-6 x 1 without 300.
    rng = torch.Generator().manual_seed(0)
    exact = torch.randn(40, 16, generator=rng, dtype=torch.float64)
    exact[20:] = exact[:20] + 1e-4 * torch.randn(20, 16, generator=rng, dtype=torch.float64)
    embeddings = (exact + 300).float()
    labels = torch.arange(40) % 5
    squared, _ = whole(tiles := Tiling(embeddings, labels), tiles.squared_distances())
    differences = embeddings.double()[:, None] - embeddings.double()[None]
    expected = differences.square().sum(2)
    off = (squared.double().sqrt() - expected.sqrt()).abs()
    assert float(off.max()) < 1e-3
    near = expected < 1e-4
    near.fill_diagonal_(False)
    assert int(near.sum()) == 40
    assert float((off[near] / expected[near].sqrt()).max()) < 1e-3


def test_where_all_coincide_nothing_is_listed_and_all_is_zero():
    embeddings = torch.full((40, 8), 0.3)
    squared, _ = whole(tiles := Tiling(embeddings, torch.arange(40) % 3), tiles.squared_distances())
    assert float(squared.max()) < 1e-12


def test_positives_come_sorted_with_their_columns():
    embeddings, labels = batch_of(23, 4)
    tiles = Tiling(embeddings, labels)
    most = tiles.classes.largest - 1
    for tile in tiles.squared_distances():
        values = tile.values.clone()
        near, columns = tile.positives(most, missing=-1.0, largest=True)
        for r, row in enumerate(tile.rows):
            of_row = tiles.classes.of_row
            others = [c for c in range(23) if of_row[c] == of_row[row] and c != row]
            there = near[r] >= 0
            assert sorted(columns[r][there].tolist()) == others
            assert near[r][there].tolist() == sorted(values[r, others].tolist(), reverse=True)
            assert near[r][~there].tolist() == [-1.0] * (len(near[r]) - len(others))


@pytest.mark.parametrize("anchors", [None, 6])
def test_the_gradient_of_distances_is_autograds(anchors):
    embeddings, labels = batch_of(23, 4)
    weights = torch.randn(23, 23, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = embeddings.clone().requires_grad_()
    apart = leaf[:, None] - leaf[None] + torch.eye(23, dtype=torch.float64)[:, :, None]
    distance = apart.norm(dim=2) * (1 - torch.eye(23, dtype=torch.float64))
    (weights * distance)[:anchors].sum().backward()
    tiles = Tiling(embeddings, labels, anchors)
    gradient = Gradient(tiles)
    places = tiles.places(torch.arange(23))
    for tile in tiles.squared_distances():
        slopes = weights[places[tile.own][:, None], places]
        gradient.of_distances(tile, slopes, tile.values.sqrt_())
    assert torch.allclose(gradient.in_batch_order(), leaf.grad, atol=1e-10)


def test_a_symmetric_gradient_takes_half_the_products_and_is_the_same():
    embeddings, labels = batch_of(23, 4)
    tiles, found = Tiling(embeddings, labels), []
    for symmetric in (False, True):
        gradient = Gradient(tiles)
        for tile in tiles.squared_distances():
            gradient.of_distances(
                tile, torch.ones_like(tile.values), tile.values.sqrt_(), symmetric
            )
        found.append(gradient.in_batch_order())
    assert torch.allclose(*found, atol=1e-10)


@pytest.mark.parametrize("anchors", [None, 6])
def test_the_gradient_of_similarities_is_autograds(anchors):
    embeddings, labels = batch_of(23, 4)
    weights = torch.randn(23, 23, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = embeddings.clone().requires_grad_()
    (weights * (leaf @ leaf.T))[:anchors].sum().backward()
    tiles = Tiling(embeddings, labels, anchors)
    gradient = Gradient(tiles)
    places = tiles.places(torch.arange(23))
    for tile in tiles.similarities():
        gradient.of_similarities(tile, weights[places[tile.own][:, None], places])
    assert torch.allclose(gradient.in_batch_order(), leaf.grad, atol=1e-10)


def test_a_scored_value_hands_its_gradient_on_and_scales_it():
    leaf = torch.zeros(3, 2, requires_grad=True)
    gradient = torch.arange(6.0).view(3, 2)
    (scored(leaf, torch.tensor(5.0), gradient) * 2).backward()
    assert leaf.grad.equal(2 * gradient)


@quick
@given(st.lists(st.integers(-3, 9), max_size=20))
def test_classes_are_those_of_the_loop(labels):
    classes = Classes.of(torch.tensor(labels, dtype=torch.int64))
    assert [labels[i] for i in classes.order] == sorted(labels)
    assert classes.largest == max((labels.count(label) for label in labels), default=0)
    rows = np.arange(len(labels))
    for row, positives, negatives in zip(
        rows, classes.positives(rows), classes.negatives(rows), strict=True
    ):
        label = labels[classes.order[row]]
        assert positives == labels.count(label) - 1
        assert negatives == len(labels) - labels.count(label)


def test_classes_are_found_once_for_each_labels_and_forgotten_with_them():
    labels = torch.tensor([1, 0, 1])
    first = Classes.of(labels)
    assert Classes.of(labels) is first
    labels[1] = 1
    assert Classes.of(labels).largest == 3
    gc.collect()  # of labels of other tests
    before = len(_KNOWN)
    del labels
    gc.collect()
    assert len(_KNOWN) == before - 1


def test_classes_are_remembered_from_the_host():
    labels = torch.tensor([1, 0, 1])
    known = Classes.remember(labels, torch.tensor([1, 0, 1]))
    assert Classes.of(labels) is known
