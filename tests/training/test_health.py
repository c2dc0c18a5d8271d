"""Spread and effective rank: by hand, by a naive loop, and of odd input; when it is a collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metricforge.training.health import (
    SAMPLE,
    Sample,
    at_margin,
    collapsed,
    effective_rank,
    spread,
)


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def naive_spread(points):
    n, dim = points.shape
    mean = [sum(points[i, d] for i in range(n)) / n for d in range(dim)]
    apart = sum((points[i, d] - mean[d]) ** 2 for i in range(n) for d in range(dim)) / n
    length = sum(points[i, d] ** 2 for i in range(n) for d in range(dim)) / n
    return math.sqrt(apart) / math.sqrt(length)


def naive_rank(points):
    values = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    shares = [v / values.sum() for v in values if v > 1e-12 * values[0]]
    return math.exp(-sum(p * math.log(p) for p in shares))


def test_spread_by_hand():
    assert spread(rows([1, 0], [-1, 0])) == 1
    assert spread(rows([3, 4], [3, 4], [3, 4])) == 0
    # Around (1, 0): from the mean 1, in length sqrt(2).
    assert spread(rows([1, 1], [1, -1])) == pytest.approx(math.sqrt(0.5))


def test_effective_rank_by_hand():
    assert effective_rank(rows([1, 0], [-1, 0])) == pytest.approx(1)
    assert effective_rank(rows([1, 0], [-1, 0], [0, 1], [0, -1])) == pytest.approx(2)
    # Singular values 3 and 1: shares 3/4 and 1/4.
    uneven = rows([3, 0], [-3, 0], [0, 1], [0, -1])
    assert effective_rank(uneven) == pytest.approx((4 / 3) ** 0.75 * 4**0.25)
    # Where they lie does not matter, nor how large they are.
    assert effective_rank(1e-6 * (uneven + 5)) == pytest.approx(effective_rank(uneven))


@pytest.mark.parametrize("shape", [(40, 3), (40, 40), (7, 64), (300, 128), (2, 5), (200, 1)])
def test_both_are_those_of_a_naive_loop(shape):
    rng = np.random.default_rng(0)
    points = rng.standard_normal(shape) * rng.exponential(size=shape[1]) + 2
    assert spread(torch.from_numpy(points)) == pytest.approx(naive_spread(points))
    assert effective_rank(torch.from_numpy(points)) == pytest.approx(naive_rank(points), rel=1e-6)


def test_unit_rows_in_all_directions_have_all_there_is():
    points = torch.nn.functional.normalize(
        torch.randn(1_024, 16, generator=torch.Generator().manual_seed(0))
    )
    assert spread(points) > 0.99
    assert 15.9 < effective_rank(points) <= 16


@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(0, 4),
        torch.zeros(4, 0),
        torch.zeros(5, 3),
        torch.ones(1, 3),
        torch.full((100, 64), 0.1),
        torch.full((50, 2), -1e-30),
    ],
    ids=lambda points: f"{list(points.shape)}",
)
def test_one_point_has_neither(points):
    assert spread(points) == pytest.approx(0, abs=1e-12)
    assert effective_rank(points) == 0


def test_a_point_in_many_copies_stays_one_though_sums_are_rounded():
    """Its rounding errors have a rank of their own, which is not that of the embeddings."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        point = torch.randn(1, 48, generator=generator)
        assert effective_rank(point.expand(1_000, 48)) == 0


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.integers(0, 6), st.integers(0, 5), st.data())
def test_odd_input_stays_finite_and_in_range(n, dim, data):
    values = data.draw(st.lists(numbers, min_size=n * dim, max_size=n * dim))
    points = torch.tensor(values, dtype=torch.float32).view(n, dim)
    assert 0 <= spread(points) <= 1
    rank = effective_rank(points)
    assert rank == 0 or 1 - 1e-9 <= rank <= min(n - 1, dim) + 1e-6


@given(st.lists(numbers.filter(bool), min_size=2, max_size=6), st.sampled_from([1e-30, 1.0, 1e200]))
def test_neither_depends_on_the_size(values, scale):
    points = torch.tensor(values, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2.0])
    if float(points.abs().max()) < 1e-30:
        return
    points = points / points.abs().max()
    assert spread(points * scale) == pytest.approx(spread(points), abs=1e-9)
    assert effective_rank(points * scale) == pytest.approx(effective_rank(points))


def test_a_sample_is_the_newest():
    sample = Sample()
    assert sample.rows() is None
    for start in range(0, 3_000, 100):
        sample.add(torch.arange(start, start + 100.0)[:, None])
    found = sample.rows()
    assert found.dtype == torch.float64
    assert found.flatten().tolist() == list(range(3_000 - SAMPLE, 3_000))


def test_a_sample_of_few_is_all_of_them():
    sample = Sample()
    sample.add(torch.ones(5, 2))
    sample.add(torch.zeros(3, 2))
    assert sample.rows().shape == (8, 2)


def test_of_a_large_batch_all_classes_are_sampled_and_the_rest_is_let_go():
    batch = torch.arange(50_000.0)[:, None]
    sample = Sample()
    sample.add(batch)
    found = sample.rows()
    assert len(found) <= SAMPLE
    assert found.min() < 50
    assert found.max() > 49_900
    assert sum(part.untyped_storage().nbytes() for part in sample._parts) <= 4 * SAMPLE


def test_a_sample_holds_no_graph_and_does_not_grow():
    sample = Sample()
    for _ in range(200):
        sample.add(torch.ones(64, 2, requires_grad=True) * 2)
    assert not sample.rows().requires_grad
    assert len(sample._parts) <= SAMPLE // 64 + 1


@pytest.mark.parametrize(
    ("spread", "loss", "margin", "active", "expected"),
    [
        (0.001, 0.0693, 0.0, 0.5, True),
        (0.001, 0.5, None, None, True),
        (0.027, 0.2016, 0.2, 1.0, True),
        (0.027, 0.2016, 0.2, None, True),
        (0.027, 0.2016, 0.2, 0.6, False),
        (0.027, 0.15, 0.2, 1.0, False),
        (0.027, 0.0693, 0.0, 1.0, False),
        (0.06, 0.2, 0.2, 1.0, False),
        (0.05, 0.07, 0.0, 0.6, False),
        (0.7, 0.2, 0.2, 1.0, False),
    ],
)
def test_a_collapse_is_one_point_or_near_it_and_held_there(spread, loss, margin, active, expected):
    assert collapsed(spread, loss, margin, active) is expected


@pytest.mark.parametrize("margin", [None, 0, 0.0, -0.2, "0.2", (0.2,)])
def test_what_is_no_margin_holds_nothing(margin):
    assert not at_margin(0.2, margin)
