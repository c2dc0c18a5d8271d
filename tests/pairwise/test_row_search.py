"""Searching rows against naive loops."""

from __future__ import annotations

import math

import pytest
import torch

from metricforge.pairwise import lowest, nearest_beyond, nth_below, row_search


def rows_of(width, seed=0):
    rng = torch.Generator().manual_seed(seed)
    # Few values, so that ties abound.
    return torch.randint(0, 50, (7, width), generator=rng).double()


@pytest.mark.parametrize("width", [1, 2, 127, 128, 129, 200, 255, 256, 300, 640, 1025])
def test_the_lowest_of_a_row(width):
    values = rows_of(width)
    found, columns = lowest(values)
    assert found.tolist() == [min(row) for row in values.tolist()]
    assert values.gather(1, columns[:, None]).squeeze(1).equal(found)
    assert (found == lowest(values.T.contiguous(), dim=0)[0]).all()
    below, rows = lowest(values.T, dim=0)
    assert below.equal(found)
    assert values.T.gather(0, rows[None]).squeeze(0).equal(found)


@pytest.fixture(params=[1, 10**6])
def many(request, monkeypatch):
    """Sorting a row, and a pass for each threshold, must not differ."""
    monkeypatch.setattr(row_search, "MANY", request.param)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("width", [1, 5, 130])
def test_the_nearest_beyond_a_threshold(width):
    values = rows_of(width)
    values[:, width // 2] = math.inf
    thresholds = torch.cat([values[:, :3], torch.tensor([-5.0, 49.0, math.inf]).expand(7, 3)], 1)
    columns, there = nearest_beyond(values, thresholds, torch.empty_like(values))
    for r, row in enumerate(values.tolist()):
        for k, threshold in enumerate(thresholds[r].tolist()):
            beyond = [v for v in row if threshold < v < math.inf]
            assert bool(there[r, k]) == bool(beyond)
            if beyond:
                assert row[columns[r, k]] == min(beyond)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("width", [1, 5, 130])
def test_one_of_the_values_below_a_threshold(width):
    values = rows_of(width)
    thresholds = torch.tensor([-1.0, 10.0, 30.0, 99.0]).expand(7, 4).double()
    seen = [[set() for _ in range(4)] for _ in range(7)]
    for step in range(4 * width):
        share = torch.full((7, 4), step / (4 * width), dtype=torch.float64)
        columns, there = nth_below(values, thresholds, share, torch.empty_like(values))
        for r in range(7):
            for k in range(4):
                if there[r, k]:
                    seen[r][k].add(int(columns[r, k]))
    for r, row in enumerate(values.tolist()):
        for k, threshold in enumerate(thresholds[r].tolist()):
            assert seen[r][k] == {c for c, v in enumerate(row) if v < threshold}
