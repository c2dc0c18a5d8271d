"""Rows of unit length: against torch's, and with gradients that stay bounded at zero."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metricforge.contracts import Pairs
from metricforge.loading import build
from metricforge.model_card import Card
from metricforge.pairwise import unit_rows
from metricforge.pairwise.unit_length import SHORTEST
from metricforge.registry import Registry
from metricforge.spec import Spec

REGISTRY = Registry.installed()
NORMALIZING = ("supcon", "nt-xent", "multi-similarity")


def rows(*lengths: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    unit = nn.functional.normalize(torch.randn(len(lengths), 4, generator=generator, dtype=dtype))
    return (unit * torch.tensor(lengths, dtype=dtype)[:, None]).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_with_a_direction_are_those_of_torch(dtype: torch.dtype) -> None:
    given = rows(1e-3, 0.5, 1.0, 7.0, 1e6, dtype=dtype)
    assert torch.allclose(unit_rows(given), nn.functional.normalize(given), atol=1e-7)
    assert unit_rows(given[:0]).shape == (0, 4)


@pytest.mark.fault(91)
def test_the_gradient_is_that_of_the_result() -> None:
    assert torch.autograd.gradcheck(unit_rows, rows(0.3, 1.0, 20.0, dtype=torch.float64))
    short = torch.zeros(3, 4, dtype=torch.float64)
    short[1] = 1e-9
    assert torch.autograd.gradcheck(unit_rows, short.requires_grad_(), eps=1e-8)


@pytest.mark.fault(91)
@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-12, SHORTEST / 2, SHORTEST * 2])
def test_the_gradient_of_a_short_row_is_bounded(length: float) -> None:
    given = rows(length, 1.0)
    unit_rows(given).sum().backward()
    assert given.grad is not None
    assert given.grad.isfinite().all()
    assert given.grad.norm(dim=1).max() <= 2 / SHORTEST


@pytest.mark.fault(91)
@pytest.mark.parametrize("name", NORMALIZING)
@pytest.mark.parametrize("length", [0.0, 1e-12])
@pytest.mark.parametrize("listed", [False, True])
def test_a_zero_embedding_has_a_bounded_gradient_in_a_loss(
    name: str, length: float, listed: bool
) -> None:
    loss = REGISTRY.build("loss", Spec.parse(name), {"dim": 4, "num_classes": 3})
    embeddings = rows(length, 1.0, 1.0, 1.0, length, 1.0)
    labels = torch.arange(6) // 2
    each = torch.combinations(torch.arange(6)).T
    pairs = Pairs(*each, labels[each[0]] == labels[each[1]]) if listed else None
    value = loss(embeddings, labels, pairs)
    value.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    assert embeddings.grad.norm(dim=1).max() < 1e3, "that of an ordinary embedding is about 10"


@pytest.mark.fault(91)
def test_a_model_that_gives_zero_has_bounded_gradients() -> None:
    card = Card("conv4:channels=4", "linear", 4, (1, 16, 16), (0.5,), (0.25,))
    torch.manual_seed(0)
    model = build(REGISTRY, card, None, None).train()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
    embeddings = model(torch.rand(8, 1, 16, 16))
    assert not embeddings.any()
    (embeddings * torch.randn(8, 4)).sum().backward()
    slopes = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    assert slopes
    assert all(slope < 1e3 for slope in slopes)
