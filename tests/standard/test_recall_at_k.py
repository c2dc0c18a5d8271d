"""The loss `recall-at-k` against a naive loop in float64, and the memory of a large batch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metricforge_standard.losses import recall_at_k
from metricforge_standard.losses.recall_at_k import RecallAtK
from torch import Tensor

from metricforge.errors import UsageError
from metricforge.testing import check_loss


@pytest.fixture(params=[1, 20, 2**22])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the tiles must not matter."""
    monkeypatch.setattr(recall_at_k, "ENTRIES_PER_TILE", request.param)


def batch(count: int = 10, classes: int = 3, dim: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dim, generator=rng, dtype=torch.float64)
    return rows.requires_grad_(), torch.randint(0, classes, (count,), generator=rng)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, value))))


def naive(rows: Tensor, labels: Tensor, ks: tuple[int, ...], soft: float, cut: float) -> float:
    """Equations 5 and 6 of Patel et al. 2022, query by query and positive by positive."""
    x = (rows / rows.norm(dim=1, keepdim=True)).tolist()
    of, losses = labels.tolist(), []
    for q in range(len(x)):
        s = [sum(a * b for a, b in zip(x[q], other, strict=True)) for other in x]
        positives = [i for i in range(len(x)) if i != q and of[i] == of[q]]
        if not positives:
            continue
        ranks = [
            1 + sum(sigmoid((s[z] - s[p]) / soft) for z in range(len(x)) if z not in (q, p))
            for p in positives
        ]
        recalls = [
            min(sum(sigmoid((k - rank) / cut) for rank in ranks), k) / min(k, len(positives))
            for k in ks
        ]
        losses.append(1 - sum(recalls) / len(ks))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize(
    ("ks", "soft", "cut"),
    [((1, 2, 4), 0.5, 1.0), ((1,), 0.01, 1.0), ((3, 16), 0.1, 0.2), ((1,), 0.5, 100.0)],
)
def test_it_is_the_naive_loop(ks: tuple[int, ...], soft: float, cut: float) -> None:
    rows, labels = batch()
    loss = RecallAtK(k=ks, rank_temperature=soft, cut_temperature=cut)
    value = loss(rows, labels, None)
    expected = naive(rows.detach(), labels, ks, soft, cut)
    assert float(value.detach()) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    if soft > 0.05:  # a step has no slope to speak of
        assert torch.autograd.gradcheck(lambda x: loss(x, labels, None), (rows,))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(0, 10**6),
    st.sampled_from([(1,), (1, 2, 4, 8)]),
)  # fmt: skip
def test_any_labels_and_ties_give_the_naive_loop(
    of: list[int], seed: int, ks: tuple[int, ...]
) -> None:
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randint(-1, 2, (len(of), 2), generator=rng).double()
    rows[rows.norm(dim=1) == 0] = 1.0  # a row of zeros has no cosine
    loss = RecallAtK(k=ks, rank_temperature=0.3)(rows, torch.tensor(of), None)
    assert float(loss) == pytest.approx(naive(rows, torch.tensor(of), ks, 0.3, 1.0), abs=1e-9)


def test_without_positives_it_is_zero_with_a_graph() -> None:
    for count in (1, 4):
        rows = torch.randn(count, 3, requires_grad=True)
        value = RecallAtK()(rows, torch.arange(count), None)
        value.backward()
        assert float(value.detach()) == 0
        assert rows.grad is not None


def test_it_becomes_the_recall_itself() -> None:
    """With small temperatures: the mean of 1 - hits / min(k, positives)."""
    rows, labels = batch(count=30, classes=5, seed=3)
    loss = RecallAtK(k=(1, 4), rank_temperature=1e-6, cut_temperature=1e-3)
    unit = rows.detach() / rows.detach().norm(dim=1, keepdim=True)
    likeness = unit @ unit.T - 3 * torch.eye(30)
    order = likeness.argsort(1, descending=True)
    same = labels[order] == labels[:, None]
    positives = (labels[:, None] == labels).sum(1) - 1
    recalls = [same[:, :k].sum(1) / positives.clamp(max=k) for k in (1, 4)]
    # A positive at rank k is at the cut itself, and counts half.
    at_cut = [same[:, k - 1] / 2 / positives.clamp(max=k) for k in (1, 4)]
    smooth = torch.stack(recalls).double() - torch.stack(at_cut).double()
    expected = 1 - smooth.mean(0)[positives > 0].mean()
    assert float(loss(rows, labels, None).detach()) == pytest.approx(float(expected), abs=1e-6)


def test_the_memory_of_a_large_batch_is_bounded() -> None:
    """What the graph keeps grows with the cosines of a tile, not with all comparisons."""
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.nbytes)
        return tensor

    rows = torch.randn(1_024, 8, requires_grad=True)
    labels = torch.arange(1_024) // 16
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        RecallAtK()(rows, labels, None)
    comparisons = 1_024 * 15 * 1_024 * 4
    assert sum(saved) < comparisons / 8


@pytest.mark.parametrize(
    "options", [{"k": ()}, {"k": (0,)}, {"rank_temperature": 0.0}, {"cut_temperature": -1.0}]
)
def test_options_are_bounded(options: dict) -> None:
    with pytest.raises(UsageError, match="recall-at-k needs"):
        RecallAtK(**options)


def test_it_keeps_the_contract() -> None:
    check_loss("recall-at-k")
