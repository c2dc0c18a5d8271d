"""The head `linear`, and its start at the principal components of the features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from metricforge_standard.heads.linear import Linear

from metricforge.errors import UsageError
from metricforge.testing import check_head


def features(count: int = 200, width: int = 12) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    scales = torch.linspace(3, 0.1, width)
    return torch.randn(count, width, generator=rng) * scales + 5


@pytest.mark.parametrize("whiten", [0.0, 0.5, 1.0])
def test_it_begins_as_the_components_divided_by_powers_of_their_deviations(whiten: float) -> None:
    """Against numpy's eigenvectors of the covariance, in float64."""
    shown = features()
    head = Linear(12, 5, start="pca", whiten=whiten)
    head.initialize(shown)
    wide = shown.double().numpy()
    values, vectors = np.linalg.eigh(np.cov(wide.T, bias=True))
    largest = np.argsort(values)[::-1][:5]
    rows = (vectors[:, largest] / values[largest] ** (whiten / 2)).T
    expected = (wide - wide.mean(0)) @ rows.T
    expected /= np.linalg.norm(expected, axis=1).mean()
    actual = head(shown).detach().double().numpy()
    # The sign of a component is free.
    np.testing.assert_allclose(np.abs(actual), np.abs(expected), rtol=1e-3, atol=1e-4)
    assert np.linalg.norm(actual, axis=1).mean() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(actual.mean(0), 0, atol=1e-4)


def test_all_components_without_whitening_keep_the_distances() -> None:
    shown = features()
    head = Linear(12, 12, start="pca", whiten=0.0)
    head.initialize(shown)
    apart = torch.pdist(head(shown).detach())
    ratio = apart / torch.pdist(shown)
    assert float(ratio.std() / ratio.mean()) < 1e-4


def test_dimensions_beyond_the_rank_are_small_and_can_learn() -> None:
    head = Linear(12, 20, start="pca")
    head.initialize(features(count=6))  # of rank 5
    length = head.project.weight.detach().norm(dim=1)
    assert float(length[5:].max()) < float(length[:5].min())
    assert float(length[5:].min()) > 0


def test_the_core_is_asked_for_features_only_where_they_are_used() -> None:
    assert not Linear(4, 3).wants_features
    assert Linear(4, 3, start="pca").wants_features


@pytest.mark.parametrize("whiten", [-0.1, 1.1])
def test_another_power_is_refused(whiten: float) -> None:
    with pytest.raises(UsageError, match="whiten from 0 to 1"):
        Linear(4, 3, whiten=whiten)


def test_it_keeps_the_contract() -> None:
    check_head("linear:start=pca")


def test_equal_features_leave_it_as_it_was() -> None:
    """They have no directions to begin at."""
    head = Linear(12, 5, start="pca")
    before = head.project.weight.detach().clone()
    head.initialize(torch.ones(10, 12))
    assert torch.equal(head.project.weight, before)
