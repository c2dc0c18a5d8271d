"""The loss `proxy-anchor` against a naive loop in float64, and the memory of many classes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metricforge_standard.losses import proxy_anchor
from metricforge_standard.losses.proxy_anchor import ProxyAnchor
from pytorch_metric_learning import losses as pml
from torch import Tensor

from metricforge.errors import UsageError
from metricforge.testing import check_loss


@pytest.fixture(params=[1, 5, 2**22], autouse=True)
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the tiles must not matter."""
    monkeypatch.setattr(proxy_anchor, "ENTRIES_PER_TILE", request.param)


def batch(count: int = 8, classes: int = 5, dim: int = 3) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(count, dim, generator=rng, dtype=torch.float64)
    return rows.requires_grad_(), torch.arange(count) % classes


def naive(rows: Tensor, labels: Tensor, proxies: Tensor, alpha: float, margin: float) -> float:
    """Equation 4 of Kim et al. 2020, term by term."""

    def cosine(x: list[float], y: list[float]) -> float:
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        return dot / (math.hypot(*x) * math.hypot(*y))

    near, far, present = 0.0, 0.0, 0
    for number, proxy in enumerate(proxies.tolist()):
        of_class = labels.tolist()
        s = [cosine(row, proxy) for row in rows.tolist()]
        own = [v for v, label in zip(s, of_class, strict=True) if label == number]
        others = [v for v, label in zip(s, of_class, strict=True) if label != number]
        present += bool(own)
        if own:
            near += math.log(1 + sum(math.exp(-alpha * (v - margin)) for v in own))
        far += math.log(1 + sum(math.exp(alpha * (v + margin)) for v in others))
    return near / max(present, 1) + far / len(proxies)


@pytest.mark.parametrize(("alpha", "margin"), [(32.0, 0.1), (1.0, 0.0), (4.0, 1.0)])
@pytest.mark.parametrize("classes", [5, 7])  # of seven, two are not in the batch
def test_it_is_the_naive_loop(alpha: float, margin: float, classes: int) -> None:
    rows, labels = batch()
    loss = ProxyAnchor(3, classes, alpha=alpha, margin=margin).double()
    expected = naive(rows, labels, loss.proxies, alpha, margin)
    assert float(loss(rows, labels, None).detach()) == pytest.approx(expected, rel=1e-10)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, None), (rows,))
    loss(rows, labels, None).backward()
    assert loss.proxies.grad is not None
    assert bool((loss.proxies.grad.abs().sum(1) > 0).all())


def test_it_is_the_librarys() -> None:
    rows, labels = batch()
    loss = ProxyAnchor(3, 5).double()
    theirs = pml.ProxyAnchorLoss(5, 3, margin=0.1, alpha=32).double()
    theirs.proxies.data = loss.proxies.data.clone()
    torch.testing.assert_close(loss(rows, labels, None), theirs(rows, labels), rtol=1e-8, atol=0)


@given(st.lists(st.integers(0, 3), max_size=6), st.sampled_from([0.0, 1e-9, 1.0, 1e9]))
@settings(deadline=None, max_examples=30)
def test_odd_batches_are_finite_and_nothing_is_zero(labels: list[int], scale: float) -> None:
    rng = torch.Generator().manual_seed(0)
    rows = (torch.randn(len(labels), 3, generator=rng) * scale).requires_grad_()
    loss = ProxyAnchor(3, 4)
    value = loss(rows, torch.tensor(labels, dtype=torch.int64), None)
    value.backward()
    assert value.isfinite()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
    if not labels:
        assert float(value.detach()) == 0


def test_it_predicts_the_class_of_the_nearest_proxy() -> None:
    loss = ProxyAnchor(3, 4)
    assert loss.predict(loss.proxies.detach() * 3).tolist() == [0, 1, 2, 3]


def test_the_memory_that_a_step_keeps_does_not_grow_with_the_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the proxies themselves: the cosines of a tile are computed again for the gradient."""
    monkeypatch.setattr(proxy_anchor, "ENTRIES_PER_TILE", 2**14)
    kept = {}
    for classes in (1_000, 20_000):
        loss, sizes = ProxyAnchor(8, classes), {}
        rows = torch.randn(32, 8, requires_grad=True)
        labels = torch.arange(32) % 16

        def keep(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = loss(rows, labels, None)
        value.backward()
        kept[classes] = sum(sizes.values()) - loss.proxies.untyped_storage().nbytes()
    cosines = 32 * 20_000 * 4
    assert kept[20_000] < cosines / 4


@pytest.mark.parametrize(
    "options", [{"alpha": 0}, {"alpha": math.inf}, {"margin": -0.1}, {"margin": 1.1}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="alpha > 0 and margin from 0 to 1"):
        ProxyAnchor(3, 4, **options)


def test_it_keeps_the_contract() -> None:
    check_loss("proxy-anchor")
