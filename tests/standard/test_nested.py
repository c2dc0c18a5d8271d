"""The loss `nested` against its parts in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from metricforge_standard.losses.nested import Nested
from metricforge_standard.losses.supcon import SupCon
from metricforge_standard.losses.triplet import Triplet

from metricforge.contracts import AllTriplets, Pairs
from metricforge.errors import UsageError
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.testing import check_loss

REGISTRY = Registry.installed()


def build(text: str, dim: int = 6, classes: int = 3) -> Nested:
    made = REGISTRY.build("loss", Spec.parse(text), {"dim": dim, "num_classes": classes})
    assert isinstance(made, Nested)
    return made


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(12, 6, generator=rng, dtype=torch.float64)
    return F.normalize(rows).requires_grad_(), torch.arange(12) % 3


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("weights", "factors"), [("", (1, 1, 1)), (",weights=0.5+3+2", (0.5, 3, 2))]
)
def test_it_is_the_mean_over_the_first_dimensions(batch, weights, factors, normalize):
    embeddings, labels = batch
    loss = build(f"nested:of=triplet,dims=2+4{weights},normalize={str(normalize).lower()}")
    value = loss(embeddings, labels, AllTriplets())
    firsts = [embeddings[:, :2], embeddings[:, :4]]
    firsts = [F.normalize(rows) for rows in firsts] if normalize else firsts
    parts = [Triplet()(rows, labels, AllTriplets()) for rows in (*firsts, embeddings)]
    expected = sum(f * part for f, part in zip(factors, parts, strict=True)) / sum(factors)
    assert torch.allclose(value, expected)
    gradients = [torch.autograd.grad(each, embeddings)[0] for each in (value, expected)]
    assert torch.allclose(*gradients)


def test_one_dimension_has_no_first_ones():
    with pytest.raises(UsageError, match="two dimensions or more"):
        build("nested", 1)


def test_its_losses_learn_apart_and_have_their_own_sizes(batch):
    embeddings, labels = batch
    loss = build("nested:of=softmax,dims=2+4").double()
    assert [tuple(p.shape) for p in loss.parameters() if p.ndim == 2] == [(3, 2), (3, 4), (3, 6)]
    loss(embeddings, labels, None).backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())


@pytest.mark.parametrize(
    ("dim", "sizes"), [(512, (8, 16, 32, 64, 128, 256, 512)), (24, (12, 24)), (3, (1, 3))]
)
def test_by_default_sizes_are_halved_down_to_eight(dim, sizes):
    assert build("nested", dim).dims == sizes


def test_it_takes_what_its_loss_takes():
    assert build("nested:of=supcon").accepts == SupCon.accepts == (Pairs, None)
    assert build('nested:of="triplet:margin=0.3"').margin == 0.3
    assert build("nested:of=supcon").margin is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nested:dims=4+2", "ascending dims below the 6"),
        ("nested:dims=2+6", "ascending dims below the 6"),
        ("nested:dims=0+2", "ascending dims below the 6"),
        ("nested:dims=2,weights=1", "weights of 2 numbers"),
        ("nested:dims=2,weights=1+0", "weights of 2 numbers"),
        ("nested:dims=2,weights=1+inf", "weights of 2 numbers"),
        ("nested:of=supcno", "did you mean 'supcon'"),
    ],
)
def test_what_is_not_nested_is_refused(text, told):
    with pytest.raises(UsageError, match=told):
        build(text)


def test_the_kit_finds_nothing():
    check_loss(lambda dim, num_classes: build("nested:of=supcon,dims=1", dim, num_classes))
