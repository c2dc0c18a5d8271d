"""Distances and dot products of listed pairs against autograd and naive loops."""

from __future__ import annotations

import math

import pytest
import torch

from metricforge.pairwise import distances, dot_products, pair_distances


@pytest.fixture(params=[1, 4, 10**6], autouse=True)
def part(request, monkeypatch):
    monkeypatch.setattr(pair_distances, "PART", request.param)


def pairs(count=30, rows=9):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(rows, (2, count), generator=rng).unbind(0)


def rows_of(dtype=torch.float64):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(9, 4, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()


@pytest.mark.parametrize("function", [distances, dot_products])
def test_values_and_gradients_are_those_of_the_loop(function):
    rows, (first, second) = rows_of(), pairs()
    first, second = first[first != second], second[first != second]
    plain = rows.tolist()
    for value, a, b in zip(function(rows, first, second).tolist(), first, second, strict=True):
        expected = (
            math.dist(plain[a], plain[b])
            if function is distances
            else sum(x * y for x, y in zip(plain[a], plain[b], strict=True))
        )
        assert value == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda r: function(r, first, second), (rows,))


def test_a_row_with_itself_is_at_zero_and_not_pulled():
    rows = rows_of()
    same = torch.arange(9)
    found = distances(rows, same, same)
    found.sum().backward()
    assert float(found.detach().abs().max()) == 0
    assert float(rows.grad.abs().max()) == 0


def test_what_almost_coincides_is_accurate():
    rows = torch.full((2, 4), 1.0)
    rows[1, 0] += 2.0**-20
    assert float(distances(rows, torch.tensor([0]), torch.tensor([1]))) == 2.0**-20


@pytest.mark.parametrize("function", [distances, dot_products])
def test_half_precision_is_widened_and_its_gradient_is_not(function):
    rows, (first, second) = rows_of(torch.bfloat16), pairs()
    found = function(rows, first, second)
    assert found.dtype == torch.float32
    expected = function(rows.detach().double(), first, second)
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-6)
    found.sum().backward()
    assert rows.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("function", [distances, dot_products])
def test_no_pairs_are_no_values_with_a_graph(function):
    rows, none = rows_of(), torch.zeros(0, dtype=torch.int64)
    found = function(rows, none, none)
    assert found.shape == (0,)
    found.sum().backward()
    assert float(rows.grad.abs().max()) == 0


@pytest.mark.parametrize("slope", [1.0, 1e6, 1e12])
def test_no_slope_makes_the_gradient_of_coinciding_rows_nan(slope):
    rows = torch.ones(4, 3, requires_grad=True)
    first, second = torch.tensor([0, 1]), torch.tensor([2, 3])
    (distances(rows, first, second).sum() * slope).backward()
    assert rows.grad.equal(torch.zeros(4, 3))


def test_of_rows_that_almost_coincide_the_gradient_is_no_more_than_the_slope():
    rows = torch.zeros(2, 3)
    rows[1] = 1e-25
    rows.requires_grad_()
    distances(rows, torch.tensor([0]), torch.tensor([1])).sum().backward()
    assert float(rows.grad.norm(dim=1).max()) <= 1
