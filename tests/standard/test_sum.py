"""The loss `sum`: what its losses give, weighted, with all that they learn and keep."""

from __future__ import annotations

import pytest
import torch
from metricforge_standard.losses.contrastive import Contrastive
from metricforge_standard.losses.supcon import SupCon
from metricforge_standard.losses.triplet import Triplet

from metricforge.contracts import AllTriplets, Pairs, Triplets
from metricforge.errors import UsageError
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.testing import check_loss

REGISTRY = Registry.installed()
PROXIES = "pml.CosFaceLoss:scale=20,margin=0.2"


def build(text: str, classes: int = 3):
    return REGISTRY.build("loss", Spec.parse(text), {"dim": 4, "num_classes": classes})


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(12, 4, generator=rng, dtype=torch.float64)
    return torch.nn.functional.normalize(rows).requires_grad_(), torch.arange(12) % 3


@pytest.mark.parametrize(("text", "factors"), [("", (1, 1)), (",weights=0.5+3", (0.5, 3))])
def test_it_is_the_weighted_sum_with_its_gradient(batch, text, factors):
    embeddings, labels = batch
    loss = build(f'sum:a=triplet,b="triplet:margin=0.9"{text}')
    found = loss(embeddings, labels, AllTriplets())
    (slope,) = torch.autograd.grad(found, embeddings)
    each = (Triplet(), Triplet(margin=0.9))
    parts = [loss(embeddings, labels, AllTriplets()) for loss in each]
    expected = sum(factor * part for factor, part in zip(factors, parts, strict=True))
    (wanted,) = torch.autograd.grad(expected, embeddings)
    assert torch.allclose(found, expected)
    assert torch.allclose(slope, wanted)


def test_what_its_losses_learn_is_its_own(batch):
    loss = build(f'sum:proxies="{PROXIES}",batch=supcon')
    assert [tuple(p.shape) for p in loss.parameters()] == [(4, 3)]
    embeddings, labels = batch
    loss.double()(embeddings, labels, None).backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())
    again = build(f'sum:proxies="{PROXIES}",batch=supcon')
    again.load_state_dict(loss.state_dict())
    assert again.double()(embeddings, labels, None) == loss(embeddings, labels, None)


def test_it_takes_what_all_of_them_take():
    assert build("sum:a=supcon,b=contrastive").accepts == (Pairs,)
    assert build("sum:a=supcon,b=pml.CosFaceLoss").accepts == (None, Pairs)
    assert build("sum:a=pml.CosFaceLoss,b=triplet").accepts == (Triplets,)
    assert Contrastive.accepts == (Pairs,)
    assert SupCon.accepts == (Pairs, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sum", "needs two losses or more"),
        ("sum:a=supcon", "needs two losses or more"),
        ("sum:a=contrastive,b=triplet", "contrastive, triplet compare nothing alike"),
        ("sum:a=supcon,b=supcon,weights=1", "weights of 2 numbers above 0"),
        ("sum:a=supcon,b=supcon,weights=1+0", "weights of 2 numbers above 0"),
        ("sum:a=supcon,b=supcon,weights=1+nan", "weights of 2 numbers above 0"),
        ("sum:a=supcon,b=supcon,weights=1+x", "takes float"),
        ("sum:a=supcon,b=supcno", "did you mean 'supcon'"),
    ],
)
def test_what_makes_no_sum_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        build(text)


def test_the_kit_finds_nothing():
    check_loss(lambda dim, num_classes: build("sum:a=supcon,b=nt-xent", num_classes))
