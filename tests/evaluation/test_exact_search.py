"""Thousands of neighbours: the same as sorting everything, whatever the sample says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metricforge.evaluation import exact_search


@pytest.mark.parametrize("count", [1, 2, 100, 5000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_the_lowest_are_those_of_a_whole_sort(count, share):
    distances = np.random.default_rng(count).random(count).astype(np.float32)
    distances[::7] = 0.25
    k = max(1, round(share * count))
    found = exact_search.nearest_in(distances, k)
    assert found.tolist() == np.argsort(distances, kind="stable")[:k].tolist()


def test_a_sample_that_misleads_is_not_believed():
    # All that the sample sees is nearer than anything else.
    distances = np.ones(3200, dtype=np.float32)
    distances[:: exact_search.STRIDE] = 0.5
    expected = np.argsort(distances, kind="stable")[:1000]
    assert exact_search.nearest_in(distances, 1000).tolist() == expected.tolist()
    # And the other way round.
    distances = np.zeros(3200, dtype=np.float32)
    distances[:: exact_search.STRIDE] = 0.5
    expected = np.argsort(distances, kind="stable")[:1000]
    assert exact_search.nearest_in(distances, 1000).tolist() == expected.tolist()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([0.0, 1e-30, 1.0, 2.0, 1e30]), min_size=1, max_size=80), st.data())
def test_ties_go_to_the_earlier(values, data):
    k = data.draw(st.integers(1, len(values)))
    distances = np.array(values, dtype=np.float32)
    expected = np.argsort(distances, kind="stable")[:k]
    assert exact_search.nearest_in(distances, k).tolist() == expected.tolist()


def deepest(queries, own, gallery, k, **options):
    return list(
        exact_search.deepest(queries, own, gallery, k, lambda part, found: found, **options)
    )


def test_tiles_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    queries, gallery = rng.random((2, 70, 3)).astype(np.float32)
    own = np.full(70, -1)
    whole = np.concatenate(deepest(queries, own, gallery, 40))
    monkeypatch.setattr(exact_search, "ENTRIES_PER_TILE", 500)
    tiles = deepest(queries, own, gallery, 40, most=3)
    assert len(tiles) > 5
    assert max(map(len, tiles)) <= 3
    assert (np.concatenate(tiles) == whole).mean() > 0.99


def test_a_query_in_the_gallery_does_not_find_itself():
    gallery = np.random.default_rng(1).random((30, 3)).astype(np.float32)
    own = np.array([4, -1, 7])
    found = np.concatenate(deepest(gallery[[4, 5, 7]], own, gallery, 29))
    assert [place in row for place, row in zip((4, 5, 7), found, strict=True)] == [0, 1, 0]
    assert found[1, 0] == 5


def test_distances_below_zero_by_rounding_count_as_zero():
    # The bits of negative floats are ordered backwards: they would not stay as they lie.
    distances = np.array([-0.5, -1.0000004, -1.0000001, 3.0, -1.0], dtype=np.float32)
    assert exact_search.nearest_in(distances, 5, norm=1.0).tolist() == [1, 2, 4, 0, 3]


@pytest.mark.parametrize("low", [0.0, 1e-30, 0.4999])
def test_sorting_by_the_highest_bits_first_changes_nothing(low):
    """Distances in a narrow range, in a wide one, and all the same."""
    rng = np.random.default_rng(2)
    for high in (low, np.nextafter(np.float32(low), np.float32(1)), 0.5, 1e30):
        distances = np.append(rng.uniform(low, high, 3000), [low, high]).astype(np.float32)
        expected = np.argsort(distances, kind="stable")[:1500]
        assert exact_search.nearest_in(distances, 1500).tolist() == expected.tolist()
