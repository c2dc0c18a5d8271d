"""Exact neighbours, self removed by index, ties that favour nobody."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import metricforge
from metricforge.errors import DivergedError
from metricforge.evaluation import neighbor_search
from metricforge.evaluation.centring import centred
from metricforge.evaluation.knn import nearest_label


@pytest.fixture(params=["faiss", "deep", "device"], autouse=True)
def any_search(request, monkeypatch):
    """faiss for few neighbours, sorting for many and a GPU for either must not differ."""
    monkeypatch.setattr(
        neighbor_search, "DEEP", neighbor_search.DEEP if request.param == "faiss" else 0
    )
    if request.param == "device":
        # The code of a GPU, run by the CPU.
        monkeypatch.setattr(neighbor_search, "search_device", lambda: torch.device("cpu"))


def collect(points, k, **options):
    tiles = list(neighbor_search.neighbours(np.asarray(points, dtype=np.float32), k, **options))
    rows = np.concatenate([rows for rows, _ in tiles])
    return rows, np.concatenate([found for _, found in tiles])


def distances(points):
    points = np.asarray(points, dtype=np.float64)
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    return squared


def test_the_neighbours_are_those_of_a_naive_loop():
    points = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    rows, found = collect(points, 7)
    expected = [sorted(range(200), key=list(row).__getitem__)[:7] for row in distances(points)]
    assert rows.tolist() == list(range(200))
    assert found.tolist() == expected


@pytest.mark.parametrize("k", [1, 3, 150])
def test_tiles_change_nothing(monkeypatch, k):
    points = np.random.default_rng(1).standard_normal((150, 4))
    _, whole = collect(points, k)
    monkeypatch.setattr(neighbor_search, "ENTRIES_PER_TILE", 200)
    monkeypatch.setattr(neighbor_search, "DEEP_ENTRIES_PER_TILE", 100)
    tiles = list(neighbor_search.neighbours(points, k))
    assert len(tiles) > 1
    np.testing.assert_array_equal(np.concatenate([found for _, found in tiles]), whole)


def test_a_tile_shrinks_as_k_grows(monkeypatch):
    monkeypatch.setattr(neighbor_search, "ENTRIES_PER_TILE", 600)
    monkeypatch.setattr(neighbor_search, "DEEP_ENTRIES_PER_TILE", 600)
    points = np.random.default_rng(2).standard_normal((100, 3))
    sizes = {
        k: max(len(rows) for rows, _ in neighbor_search.neighbours(points, k)) for k in (5, 59)
    }
    assert sizes == {5: 100, 59: 10}


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(*[st.integers(-2, 2)] * 2), min_size=1, max_size=30),
    k=st.integers(1, 40),
)
def test_duplicates_and_a_large_k_still_give_the_nearest_others(points, k):
    rows, found = collect(points, k)
    squared = distances(points)
    assert found.shape == (len(points), min(k, len(points) - 1))
    for row, ids in zip(rows, found, strict=True):
        assert row not in ids
        assert len(set(ids)) == len(ids)
        assert (ids >= 0).all()
        nearest = np.sort(squared[row])[: len(ids)]
        np.testing.assert_allclose(squared[row][ids], nearest, atol=1e-5)


def test_self_is_removed_by_index_among_more_duplicates_than_k():
    rows, found = collect(np.ones((50, 3)), 4)
    assert found.shape == (50, 4)
    assert not (found == rows[:, None]).any()


def test_ties_go_to_a_shuffled_gallery_not_to_the_neighbour_in_the_file():
    _, found = collect(np.ones((400, 2)), 1)
    assert set(found.ravel()) != {0, 1}
    assert not np.array_equal(found, collect(np.ones((400, 2)), 1, seed=1)[1])
    assert np.array_equal(found, collect(np.ones((400, 2)), 1)[1])


@pytest.mark.parametrize(
    ("scale", "offset"), [(1e-38, 0), (1e-3, 100), (1, 0), (1, 100), (1e30, 100), (3e38, 0)]
)
def test_neither_scale_nor_offset_changes_the_ranks(scale, offset):
    points = np.random.default_rng(3).permutation(60).reshape(30, 2) / 128 - 0.2
    points = ((points + offset) * scale).astype(np.float32)
    _, found = collect(points, 29)
    squared = distances(points.astype(np.float64) / scale)
    ranked = np.take_along_axis(squared, found, axis=1)
    assert (np.diff(ranked, axis=1) >= -1e-5).all()


def test_small_distances_far_from_the_origin_are_told_apart():
    # Large enough that faiss expands |x - y|^2; as they are, these would rank by rounding error.
    rng = np.random.default_rng(3)
    points = (rng.standard_normal((2000, 64)) + 1000).astype(np.float32)
    _, found = collect(points, 5)
    exact = points.astype(np.float64)
    for row in range(0, 2000, 100):
        squared = ((exact - exact[row]) ** 2).sum(axis=1)
        squared[row] = np.inf
        np.testing.assert_allclose(squared[found[row]], np.sort(squared)[:5], rtol=1e-5)


def test_the_largest_floats_do_not_overflow():
    _, found = collect([[3.4e38], [3.2e38], [2.8e38], [2e38], [-3.4e38]], 2)
    assert found.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1], [3, 2]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_refused_by_row(bad):
    points = np.ones((9, 3), dtype=np.float32)
    points[[2, 5, 6], 1] = bad
    with pytest.raises(DivergedError, match=r"3 of 9 embeddings .*rows 2, 5, 6\)") as caught:
        next(neighbor_search.neighbours(points, 1))
    assert caught.value.exit_code == 7


def test_only_the_first_bad_rows_are_named():
    with pytest.raises(DivergedError, match=r"rows 0, 1, 2, 3, 4, \.\.\.\)"):
        next(neighbor_search.neighbours(np.full((9, 3), np.nan), 1))


def test_zero_embeddings_are_points_like_others():
    _, found = collect([[0, 0], [1, 0], [0, 0], [1, 0.1]], 1)
    assert found.ravel().tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("count", [0, 1])
def test_nobody_else_means_no_neighbours(count):
    tiles = list(neighbor_search.neighbours(np.ones((count, 2)), 3))
    assert [found.shape for _, found in tiles] == [(1, 0)] * count


def exact_order(points, k):
    """The k nearest others of each row, in float64, and their squared distances."""
    wide = points.astype(np.float64)
    squared = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    return np.sort(squared, axis=1)[:, :k], squared


@pytest.mark.fault(123)
@pytest.mark.parametrize("k", [5, 300])
@pytest.mark.parametrize("kind", ["outliers", "domains"])
def test_rows_far_from_others_cost_no_precision(kind, k):
    """Of the rest, as of two domains: the products of float32 lose the digits that matter."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(600, 8))
    if kind == "outliers":
        points[-4:, 0] = 1e7
    else:
        points[::2] += 1e5
    points = points.astype(np.float32)
    _, found = collect(points, k)
    best, squared = exact_order(points, k)
    chosen = np.take_along_axis(squared, found, axis=1)
    near = slice(0, 296) if kind == "outliers" else slice(0, 290)
    np.testing.assert_allclose(chosen[:, near], best[:, near], rtol=1e-3, atol=1e-4)


@pytest.mark.fault(123)
@pytest.mark.parametrize("k", [5, 300])
def test_usual_embeddings_are_searched_by_products_alone(k, monkeypatch):
    def refused(*given):
        raise AssertionError("searched by subtraction")

    monkeypatch.setattr(neighbor_search, "nearest_by_subtraction", refused)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(500, 16))
    for points in (
        noise,
        np.repeat(rng.normal(size=(20, 16)), 25, axis=0) + 0.05 * noise,
        np.repeat(rng.normal(size=(100, 16)), 5, axis=0),  # copies
        np.repeat(rng.normal(size=(250, 16)), 2, axis=0) + 1e-5 * noise,  # pairs have no rival
        np.ones((500, 4)),
    ):
        collect(points / np.linalg.norm(points, axis=1, keepdims=True), k)


@pytest.mark.fault(143)
@pytest.mark.parametrize("k", [5, 300])
def test_rows_near_one_point_and_far_from_most_others(k):
    """In float64 as well the products of these lose all digits of those."""
    rng = np.random.default_rng(0)
    points = 1e8 + 1e3 * rng.normal(size=(600, 8))
    points[::10] = 1e-3 * rng.normal(size=(60, 8))
    points = points.astype(np.float32)
    rows, found = collect(points, k)
    best, squared = exact_order(points, k)
    assert (rows == np.arange(600)).all()
    chosen = np.take_along_axis(squared, found, axis=1)[::10, :59]
    np.testing.assert_allclose(chosen[:, :k], best[::10, : min(k, 59)], rtol=1e-6)


@pytest.mark.fault(143)
def test_copies_come_before_rows_that_are_nearly_copies():
    """All of their products are equal, but for rounding."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 32))
    points[:40] = points[0] + 1e-6 * rng.normal(size=(40, 32))
    points[:20] = points[20]
    _, found = collect(points.astype(np.float32), 30)
    assert [set(row) for row in found[:20, :20]] == [set(range(21)) - {row} for row in range(20)]


def classes_in_noise() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 10)
    rows = rng.standard_normal((20, 16))[labels] + 0.35 * rng.standard_normal((200, 16))
    return rows.astype(np.float32), labels


@pytest.mark.fault(138)
@pytest.mark.parametrize("far", [1e4, -1e9, 1e12, -1e17])
def test_one_row_far_out_changes_no_other_rows_neighbours(far):
    rows, _ = classes_in_noise()
    rows[7] = far
    wide = rows.astype(np.float64)
    squared = np.square(wide[:, None] - wide).sum(2)
    np.fill_diagonal(squared, np.inf)
    expected = squared.argsort(1)[:, :9]
    ((_, found),) = neighbor_search.neighbours(rows, 9)
    others = np.arange(200) != 7
    assert (found[others] == expected[others]).all()


@pytest.mark.fault(138)
def test_one_row_far_out_changes_no_metric_of_the_others():
    rows, labels = classes_in_noise()
    protocols = ("retrieval", "clustering", "knn", "oneshot:way=5", "verification")
    (without,) = metricforge.evaluate(rows, labels, protocols=protocols).results.values()
    for far in (-1e9, 1e12, 1e17):
        rows[7] = far
        (found,) = metricforge.evaluate(rows, labels, protocols=protocols).results.values()
        for name, estimate in without.items():
            assert found[name].value == pytest.approx(estimate.value, abs=0.03), (far, name)
    rows[7] = np.finfo(np.float32).max
    with pytest.raises(
        DivergedError, match=r"1 of 200 embeddings \(rows 7\) lie more than a billion"
    ):
        metricforge.evaluate(rows, labels, protocols=protocols)


def test_many_rows_at_one_point_are_not_far_from_others():
    rows = np.zeros((20, 4), np.float32)
    rows[:5] = np.eye(5, 4)
    assert np.abs(centred(rows)).max() >= 0.5
    assert not centred(np.ones((20, 4), np.float32)).any()


def dense_among_spread(spread: int, dense: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes that are spread wide, and dense ones in four groups, at no distance beside those."""
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((spread, 1, 128)) + 0.3 * rng.standard_normal((spread, each, 128))
    groups = rng.standard_normal((4, 128))[np.arange(dense) % 4, None]
    near = groups + 1e-4 * rng.standard_normal((dense, 1, 128))
    near = near + 2e-5 * rng.standard_normal((dense, each, 128))
    rows = np.concatenate([wide.reshape(-1, 128), near.reshape(-1, 128)]).astype(np.float32)
    return rows, np.repeat(np.arange(spread + dense), each)


@pytest.mark.fault(142, 143)
@pytest.mark.parametrize(("spread", "dense"), [(60, 40), (300, 20), (400, 4)])
def test_dense_groups_among_spread_rows_have_the_neighbours_of_float64(spread, dense):
    rows, labels = dense_among_spread(spread, dense, 10)
    (found,) = metricforge.evaluate(rows, labels, protocols=["retrieval"]).results.values()
    assert (found["recall@1"].value, found["map@r"].value) == (1, 1)


@pytest.mark.fault(142)
def test_labels_of_dense_groups_are_told_by_the_nearest_in_float64():
    rows, labels = dense_among_spread(60, 40, 20)
    known = np.arange(0, len(rows), 20)
    queries = np.setdiff1d(np.arange(len(rows)), known)
    assert (nearest_label(rows, labels, known, queries) == labels[queries]).all()


@pytest.mark.fault(143)
def test_the_rank_of_the_first_is_exact_in_dense_groups():
    rows, _ = dense_among_spread(60, 40, 10)
    labels = np.arange(len(rows)) // 2
    queries = np.arange(600, 1_000)
    _, squared = exact_order(rows, 1)
    mate = np.take_along_axis(squared, (np.arange(len(rows)) ^ 1)[:, None], axis=1)
    expected = 1 + (squared < mate).sum(axis=1)[queries]
    ranks = neighbor_search.Gallery(rows).rank_of_first(queries, labels)
    assert (ranks == expected).all()
    assert ranks.max() > 5
