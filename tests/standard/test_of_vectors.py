"""What ships for vectors: the backbone `identity`, the head `residual-mlp`, `noise`, `dropout`."""

from __future__ import annotations

import pytest
import torch
from metricforge_standard.augmentations.dropout import Dropout
from metricforge_standard.augmentations.noise import Noise
from metricforge_standard.backbones.identity import Identity
from metricforge_standard.heads.linear import Linear
from metricforge_standard.heads.mlp import MLP
from metricforge_standard.heads.residual_mlp import ResidualMLP
from torch.nn import functional as F

from metricforge.data.image_rng import ImageDraws
from metricforge.errors import UsageError
from metricforge.testing import check_augmentation, check_backbone, check_head
from metricforge.testing.augmentation_checks import augmented

B, V = 2_000, 24


def rows(count: int = B) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(count, V, generator=rng) * torch.linspace(0.1, 5, count)[:, None]


def test_the_kit_passes_all() -> None:
    check_backbone(Identity)
    check_head(ResidualMLP)
    check_augmentation(Noise)
    check_augmentation(Dropout)


def test_identity_passes_vectors_on() -> None:
    shown = rows(3)
    assert Identity(V)(shown) is shown
    assert Identity(V).out_features == V


@pytest.mark.parametrize("unit", [1e-27, 1e27])
def test_noise_does_not_depend_on_the_unit(unit: float) -> None:
    before = rows(200)
    usual = augmented(Noise(amount=0.3), before) - before
    noise = (augmented(Noise(amount=0.3), before * unit) - before * unit) / unit
    assert torch.allclose(noise, usual, rtol=1e-3, atol=1e-5)


def test_the_length_of_noise_is_a_fraction_of_its_vectors() -> None:
    before = rows()
    noise = augmented(Noise(amount=0.3), before) - before
    ratio = noise.norm(dim=1) / before.norm(dim=1)
    # The length of V normal numbers of deviation 1 / sqrt(V) is 1, give or take 1 / sqrt(2 V).
    assert float(ratio.square().mean().sqrt()) == pytest.approx(0.3, rel=0.02)
    assert float(ratio.std()) == pytest.approx(0.3 / (2 * V) ** 0.5, rel=0.1)
    assert abs(float((noise / before.norm(dim=1, keepdim=True)).mean())) < 1e-3


def test_dropout_loses_a_fraction_and_keeps_the_mean() -> None:
    before = rows()
    after = augmented(Dropout(p=0.25), before)
    lost = after == 0
    assert float(lost.float().mean()) == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(after[~lost], (before / 0.75)[~lost])
    assert lost.float().mean(1).std() > 0.05  # each vector loses its own


def test_no_noise_and_no_dropout_change_nothing() -> None:
    assert augmented(Noise(amount=0), rows(5)).equal(rows(5))
    assert augmented(Dropout(p=0), rows(5)).equal(rows(5))


def test_draws_are_the_images_own() -> None:
    draws = ImageDraws((0, 1, 0), torch.tensor([7]), torch.device("cpu"))
    expected = rows(1) + rows(1).norm(dim=1, keepdim=True) * 0.1 / V**0.5 * draws.normal(V)
    torch.testing.assert_close(augmented(Noise(), rows(1), torch.tensor([7]), epoch=1), expected)


@pytest.mark.parametrize("made", [lambda: Noise(amount=-1), lambda: Dropout(p=1)])
def test_amounts_are_bounded(made) -> None:
    with pytest.raises(UsageError, match="is from 0 to"):
        made()


def test_residual_mlp_begins_as_the_linear_head() -> None:
    shown = rows(300)
    linear, residual = Linear(V, 8, start="pca"), ResidualMLP(V, 8)
    assert residual.wants_features
    for head in (linear, residual):
        head.initialize(shown)
    torch.testing.assert_close(residual(shown), linear(shown))


def test_residual_mlp_is_its_formula() -> None:
    torch.manual_seed(1)
    head = ResidualMLP(V, 8, hidden=5, dropout=0.5, start="random").double().eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    shown = rows(6).double()
    state = head.state_dict()
    norm = (shown - shown.mean(1, keepdim=True)) / (
        shown.var(1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    norm = norm * state["residual.0.weight"] + state["residual.0.bias"]
    hidden = F.gelu(norm @ state["residual.1.weight"].T + state["residual.1.bias"])
    expected = hidden @ state["residual.4.weight"].T + state["residual.4.bias"]
    expected += shown @ state["linear.project.weight"].T + state["linear.project.bias"]
    torch.testing.assert_close(head(shown), expected)


def test_heads_refuse_no_hidden_layer() -> None:
    for head in (ResidualMLP, MLP):
        with pytest.raises(UsageError, match="needs hidden of 1 or more, not -3"):
            head(V, 8, hidden=-3)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_residual_mlp_refuses_other_dropout(dropout: float) -> None:
    with pytest.raises(UsageError, match="dropout from 0 to below 1"):
        ResidualMLP(V, 8, dropout=dropout)
