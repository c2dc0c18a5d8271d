"""The losses against naive loops in float64, their gradients, and pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metricforge_standard.losses import _all_triplets
from metricforge_standard.losses.contrastive import Contrastive
from metricforge_standard.losses.margin import Margin
from metricforge_standard.losses.triplet import Triplet
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.reducers import MeanReducer

from metricforge.contracts import AllPairs, AllTriplets, Pairs, Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import tiling
from metricforge.registry import Registry
from metricforge.spec import Spec
from tests.covering import pairwise

quick = settings(deadline=None, max_examples=100)

# Quarters are exact in every precision, and few enough that ties and duplicates abound.
quarters = st.integers(-4, 4).map(lambda n: n / 4)
batches = st.lists(st.tuples(quarters, quarters, st.integers(0, 2)), max_size=8)
margins = st.sampled_from([0.125, 0.2, 1.0, 3.0])

BATCHES = {
    "empty": [],
    "one image": [(0.0, 0.0, 0)],
    "one class": [(0.0, 0.0, 1), (1.0, 0.0, 1), (2.0, 0.0, 1)],
    "only singletons": [(0.0, 0.0, 0), (0.25, 0.0, 1), (0.5, 0.0, 2)],
    "all in one place": [(1.0, 1.0, 0), (1.0, 1.0, 0), (1.0, 1.0, 1), (1.0, 1.0, 1)],
    "ties": [(0.0, 0.0, 0), (0.5, 0.0, 0), (-0.5, 0.0, 0), (0.0, 0.5, 1), (0.0, -0.5, 1)],
}
CASES = (
    (Contrastive(), AllPairs()),
    (Contrastive(reduction="sum"), AllPairs()),
    (Triplet(), AllTriplets()),
    (Triplet(active_only=False), AllTriplets()),
)
every_loss = pytest.mark.parametrize(
    ("loss", "described"), CASES, ids=["contrastive", "contrastive-sum", "triplet", "triplet-all"]
)


def batch_of(rows, dtype=torch.float64):
    embeddings = torch.tensor([row[:2] for row in rows], dtype=dtype).view(-1, 2)
    return embeddings.requires_grad_(), torch.tensor([r[2] for r in rows], dtype=torch.int64)


def random_batch(count=12, dim=4, dtype=torch.float64):
    rng = torch.Generator().manual_seed(3)
    return torch.randn(count, dim, generator=rng, dtype=dtype), torch.arange(count) % 3


def naive_contrastive(rows, margin, reduction="mean"):
    terms = []
    for a in range(len(rows)):
        for b in range(a + 1, len(rows)):
            d = math.dist(rows[a][:2], rows[b][:2])
            terms.append((d if rows[a][2] == rows[b][2] else max(0.0, margin - d)) ** 2 / 2)
    return sum(terms) / (len(terms) if terms and reduction == "mean" else 1)


SCALES = {
    "distance": lambda d: d,
    "squared": lambda d: d * d,
    "log": lambda d: math.log(d * d + 1e-4) / 2,
}


def naive_violations(rows, margin, scale="distance"):
    """f(d(a, p)) - f(d(a, n)) + margin of every valid triplet."""
    f = SCALES[scale]
    found = []
    for a in range(len(rows)):
        for p in range(len(rows)):
            for n in range(len(rows)):
                if a == p or rows[a][2] != rows[p][2] or rows[a][2] == rows[n][2]:
                    continue
                near = f(math.dist(rows[a][:2], rows[p][:2]))
                found.append(near - f(math.dist(rows[a][:2], rows[n][:2])) + margin)
    return found


def naive_soft_triplet(rows, margin, soft, scale="distance"):
    terms = [
        soft * (max(v, 0.0) / soft + math.log1p(math.exp(-abs(v) / soft)))
        for v in naive_violations(rows, margin, scale)
    ]
    return sum(terms) / len(terms) if terms else 0.0


def naive_triplet(rows, margin, active_only, scale="distance"):
    terms = [max(0.0, violation) for violation in naive_violations(rows, margin, scale)]
    if active_only:
        terms = [term for term in terms if term > 1e-12]
    return sum(terms) / len(terms) if terms else 0.0


def check(loss, described, rows, expected):
    embeddings, labels = batch_of(rows)
    value = loss(embeddings, labels, described)
    assert value.ndim == 0
    assert float(value.detach()) == pytest.approx(expected, abs=1e-12)
    value.backward()
    assert bool(embeddings.grad.isfinite().all())
    listed = loss(embeddings, labels, described.listed(labels))
    assert float(listed.detach()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", BATCHES)
def test_losses_of_what_is_special_are_the_naive_loop(name):
    rows = BATCHES[name]
    for reduction in ("mean", "sum"):
        loss = Contrastive(margin=0.75, reduction=reduction)
        check(loss, AllPairs(), rows, naive_contrastive(rows, 0.75, reduction))
    for active_only in (True, False):
        expected = naive_triplet(rows, 0.2, active_only)
        check(Triplet(active_only=active_only), AllTriplets(), rows, expected)


@quick
@given(batches, margins, st.sampled_from(["mean", "sum"]))
def test_contrastive_is_the_naive_loop(rows, margin, reduction):
    loss = Contrastive(margin=margin, reduction=reduction)
    check(loss, AllPairs(), rows, naive_contrastive(rows, margin, reduction))


@pytest.mark.parametrize("described", [True, False])
def test_a_sum_has_each_pair_once_from_whichever_sides_it_is_compared(described):
    embeddings, labels = random_batch(5)
    rows = embeddings.requires_grad_()
    loss = Contrastive(margin=2.0, reduction="sum")
    # Two anchors of five images: their own pair is compared from either side, six from one.
    tuples = AllPairs(2) if described else AllPairs(2).listed(labels)
    places = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)]
    one, other = torch.tensor(places).T
    once = Pairs(one, other, labels[one] == labels[other])
    value, expected = loss(rows, labels, tuples), loss(rows, labels, once)
    mean = Contrastive(margin=2.0)(rows, labels, once)
    assert float(expected.detach()) == pytest.approx(7 * float(mean.detach()))
    assert float(value.detach()) == pytest.approx(float(expected.detach()))
    slopes = [torch.autograd.grad(found, rows)[0] for found in (value, expected)]
    assert torch.allclose(*slopes, atol=1e-12)


@quick
@given(batches, st.sampled_from([0.2, 0.3, 1.1]), st.booleans())
def test_triplet_is_the_naive_loop(rows, margin, active_only):
    loss = Triplet(margin=margin, active_only=active_only)
    check(loss, AllTriplets(), rows, naive_triplet(rows, margin, active_only))


@quick
@given(batches, st.sampled_from([0.0, 0.2]), st.sampled_from([0.25, 1.0, 3.0]))
def test_soft_triplet_is_the_naive_loop(rows, margin, soft):
    loss = Triplet(margin=margin, soft=soft)
    # torch's softplus is linear from 20 on: what it leaves out there is under 1e-8 x soft.
    embeddings, labels = batch_of(rows)
    value = loss(embeddings, labels, AllTriplets())
    assert float(value.detach()) == pytest.approx(naive_soft_triplet(rows, margin, soft), abs=1e-7)
    value.backward()
    assert bool(embeddings.grad.isfinite().all())


@pytest.mark.parametrize("scale", ["squared", "log"])
@quick
@given(rows=batches, margin=st.sampled_from([0.2, 0.3, 1.1]))
def test_triplet_on_another_scale_is_the_naive_loop(scale, rows, margin):
    loss = Triplet(margin=margin, **{scale: True})
    check(loss, AllTriplets(), rows, naive_triplet(rows, margin, True, scale))


@pytest.mark.parametrize("scale", ["squared", "log"])
@quick
@given(rows=batches, margin=st.sampled_from([0.0, 0.2]), soft=st.sampled_from([0.25, 1.0]))
def test_soft_triplet_on_another_scale_is_the_naive_loop(scale, rows, margin, soft):
    loss = Triplet(margin=margin, soft=soft, **{scale: True})
    embeddings, labels = batch_of(rows)
    value = loss(embeddings, labels, AllTriplets())
    expected = naive_soft_triplet(rows, margin, soft, scale)
    assert float(value.detach()) == pytest.approx(expected, abs=1e-7)
    value.backward()
    assert bool(embeddings.grad.isfinite().all())


@pytest.mark.parametrize("options", [{}, {"squared": True}, {"log": True}])
@pytest.mark.parametrize("listed", [False, True])
def test_the_gradient_of_soft_triplet_is_that_of_its_value(options, listed):
    embeddings, labels = random_batch()
    embeddings.requires_grad_()
    loss = Triplet(margin=0, soft=0.5, **options)
    tuples = AllTriplets().listed(labels) if listed else AllTriplets()
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, tuples), (embeddings,))


def test_the_log_of_a_smaller_embedding_is_the_same_loss():
    embeddings, labels = random_batch(24, 8)
    loss = Triplet(margin=0, soft=0.5, log=True)
    large, small = (float(loss(embeddings * by, labels, AllTriplets())) for by in (50, 5))
    assert small == pytest.approx(large, rel=1e-4)
    # Tamuz 2011: -log of d(a, n)^2 / (d(a, p)^2 + d(a, n)^2), halved.
    anchor, positive, negative = AllTriplets().listed(labels)
    rows = 50 * embeddings
    near = (rows[anchor] - rows[positive]).square().sum(1)
    far = (rows[anchor] - rows[negative]).square().sum(1)
    assert large == pytest.approx(float(-(far / (near + far)).log().mean() / 2), rel=1e-5)


def test_a_negative_that_coincides_with_its_anchor_has_a_bounded_gradient():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1e-4]], requires_grad=True)
    for tuples in (AllTriplets(), AllTriplets().listed(torch.tensor([0, 0, 1, 1]))):
        rows.grad = None
        Triplet(margin=0, soft=0.5, log=True)(rows, torch.tensor([0, 0, 1, 1]), tuples).backward()
        # Half a slope is at most 1 / (2 * sqrt(1e-4)), of four pairs that push.
        assert 0 < float(rows.grad.norm(dim=1).max()) < 200


@pytest.mark.parametrize(
    "options",
    [{"margin": 0.0}, {"margin": -1.0}, {"soft": 0.0}, {"squared": True, "log": True}],
)
def test_triplet_refuses_options_that_compare_nothing(options):
    with pytest.raises(UsageError):
        Triplet(**options)


def test_contrastive_by_hand():
    embeddings = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
    pairs = Pairs(
        torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), torch.tensor([True, False, False])
    )
    # d = 5 of one class, d = 1 and d = sqrt(18) of two; the margin is 2.
    value = Contrastive(margin=2.0)(embeddings, torch.zeros(3), pairs)
    assert float(value) == pytest.approx((25 / 2 + 1 / 2 + 0) / 3)
    value = Contrastive(margin=2.0, reduction="sum")(embeddings, torch.zeros(3), pairs)
    assert float(value) == pytest.approx(25 / 2 + 1 / 2 + 0)


def test_contrastive_is_reduced_by_mean_or_sum():
    with pytest.raises(UsageError, match="reduction mean or sum, not none"):
        Contrastive(reduction="none")


def test_triplet_by_hand():
    embeddings = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [9.0, 0.0]])
    triplets = Triplets(torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([2, 3]))
    # 5 - 1 + 0.5 violates the margin, 5 - 9 + 0.5 does not.
    value = Triplet(margin=0.5)(embeddings, torch.zeros(4), triplets)
    assert float(value) == pytest.approx(4.5)
    value = Triplet(margin=0.5, active_only=False)(embeddings, torch.zeros(4), triplets)
    assert float(value) == pytest.approx(4.5 / 2)


@every_loss
def test_the_gradient_is_that_of_the_value(loss, described):
    embeddings, labels = random_batch()
    embeddings.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, described), (embeddings,))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_identical_embeddings_have_a_gradient_of_zero(loss, described, dtype):
    embeddings = torch.ones(6, 3, dtype=dtype, requires_grad=True)
    loss(embeddings, torch.arange(6) % 2, described).backward()
    assert embeddings.grad.equal(torch.zeros(6, 3, dtype=dtype))


@every_loss
def test_a_duplicate_does_not_spoil_the_gradient_of_the_others(loss, described):
    embeddings, labels = random_batch(6)
    embeddings[3] = embeddings[0]
    embeddings.requires_grad_()
    loss(embeddings, labels, described).backward()
    assert bool(embeddings.grad.isfinite().all())
    assert float(embeddings.grad.abs().sum()) > 0


@every_loss
@pytest.mark.parametrize("images", [0, 5])
def test_no_tuples_give_zero_with_a_graph(loss, described, images):
    embeddings = torch.randn(images, 3, generator=torch.Generator().manual_seed(0))
    embeddings.requires_grad_()
    none = torch.zeros(0, dtype=torch.int64)
    is_pairs = isinstance(described, AllPairs)
    tuples = Pairs(none, none, none.bool()) if is_pairs else Triplets(none, none, none)
    value = loss(embeddings, torch.zeros(images, dtype=torch.int64), tuples)
    assert value.ndim == 0
    assert float(value.detach()) == 0.0
    value.backward()
    assert embeddings.grad.equal(torch.zeros(images, 3))


@every_loss
def test_triplets_that_keep_the_margin_give_zero_with_a_graph(loss, described):
    embeddings = torch.tensor([[0.0], [0.0], [9.0], [9.0]], requires_grad=True)
    value = loss(embeddings, torch.tensor([0, 0, 1, 1]), described)
    assert float(value.detach()) == 0.0
    value.backward()
    assert embeddings.grad.equal(torch.zeros(4, 1))


@every_loss
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_other_precisions_agree_with_float64(loss, described, dtype, tolerance):
    embeddings, labels = random_batch()
    embeddings = embeddings.to(dtype)
    exact = float(loss(embeddings.double(), labels, described))
    rows = embeddings.clone().requires_grad_()
    value = loss(rows, labels, described)
    assert float(value.detach()) == pytest.approx(exact, rel=tolerance)
    value.backward()
    assert rows.grad.dtype == dtype
    assert bool(rows.grad.isfinite().all())


@pytest.mark.parametrize("active_only", [True, False])
@pytest.mark.parametrize("margin", [0.05, 0.2, 1.0])
def test_triplet_agrees_with_pytorch_metric_learning(active_only, margin):
    embeddings, labels = random_batch(16)
    triplets = AllTriplets().listed(labels)
    theirs = TripletMarginLoss(
        margin=margin,
        distance=LpDistance(normalize_embeddings=False),
        # By default it averages over what is not zero, like `active_only`.
        reducer=None if active_only else MeanReducer(),
    )
    ours = Triplet(margin=margin, active_only=active_only)
    first, second = (embeddings.clone().requires_grad_() for _ in range(2))
    value, expected = ours(first, labels, triplets), theirs(second, labels, tuple(triplets))
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    value.backward()
    expected.backward()
    assert torch.allclose(first.grad, second.grad, atol=1e-9)


@pytest.mark.parametrize(
    ("case", "classes", "anchors", "many"),
    pairwise(
        [
            (Contrastive(), AllPairs),
            (Contrastive(reduction="sum"), AllPairs),
            (Triplet(), AllTriplets),
            (Triplet(active_only=False, margin=2.0), AllTriplets),
            (Triplet(soft=0.3), AllTriplets),
            (Triplet(squared=True), AllTriplets),
            (Triplet(log=True), AllTriplets),
            (Triplet(log=True, margin=0.1, soft=0.5), AllTriplets),
            (Margin(margin=0.5, beta=1.0), AllTriplets),
        ],
        [1, 2, 5, 60],
        [None, 7, 1, 0],
        [1, 10**9],
    ),
)
def test_tiles_and_anchors_count_like_what_is_listed(case, classes, anchors, many, monkeypatch):
    loss, described = case
    monkeypatch.setattr(tiling, "FEWEST_ANCHORS", 7)
    monkeypatch.setattr(tiling, "ON_CPU", 1)
    monkeypatch.setattr(_all_triplets, "MANY", many)
    rng = torch.Generator().manual_seed(1)
    rows = torch.randn(60, 5, generator=rng, dtype=torch.float64)
    # The last are in one place, with others of their class and without: they have no slope.
    rows[50:] = rows[50]
    labels = torch.randint(classes, (60,), generator=rng)
    first, second = (rows.clone().requires_grad_() for _ in range(2))
    value, active = loss.counted(first, labels, described(anchors))
    expected, listed = loss.counted(second, labels, described(anchors).listed(labels))
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    # A distance of zero, squared and rooted, may be 1e-16: what counts as pulled then differs.
    assert int(active) == pytest.approx(int(listed), abs=100)
    value.backward()
    expected.backward()
    assert torch.allclose(first.grad, second.grad, atol=1e-10)


@every_loss
def test_the_gradient_of_what_is_described_passes_gradcheck(loss, described):
    embeddings, labels = random_batch()
    embeddings.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, described), (embeddings,))


@pytest.mark.parametrize("name", ["contrastive", "triplet"])
@pytest.mark.parametrize("margin", ["0", "-1"])
def test_a_margin_must_be_positive(name, margin):
    with pytest.raises(UsageError, match="needs margin > 0"):
        Registry.installed().build("loss", Spec.parse(f"{name}:margin={margin}"), {})


def test_losses_say_what_they_take_and_their_margin():
    assert Contrastive.accepts == (Pairs,)
    assert Triplet.accepts == (Triplets,)
    assert Contrastive(margin=0.7).margin == 0.7
    assert Triplet(margin=0.7).margin == 0.7


@pytest.mark.parametrize("loss", [Contrastive(), Triplet(), Triplet(soft=0.1), Margin()])
def test_no_tuples_are_zero_in_half_precision_too(loss):
    rows = torch.ones(8192, 32, dtype=torch.float16, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    tuples = Pairs(none, none, none.bool()) if Pairs in loss.accepts else Triplets(none, none, none)
    value = loss(rows, torch.zeros(8192, dtype=torch.int64), tuples)
    value.backward()
    assert float(value.detach()) == 0
    assert rows.grad.equal(torch.zeros_like(rows))


@pytest.mark.parametrize("loss", [Contrastive(margin=5.0), Triplet(margin=300.0)])
@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_coinciding_rows_have_a_finite_gradient_whatever_the_scale(loss, scale):
    rows = torch.ones(6, 3, requires_grad=True)
    labels = torch.arange(6) % 2
    kind = AllPairs() if Pairs in loss.accepts else AllTriplets()
    (loss(rows, labels, kind.listed(labels)) * scale).backward()
    assert rows.grad.equal(torch.zeros(6, 3))


def test_beta_of_the_margin_loss_has_the_same_gradient_from_all_triplets():
    rng = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(30, 4, generator=rng, dtype=torch.float64), torch.arange(30) % 4
    slopes, active = [], []
    for tuples in (AllTriplets(), AllTriplets().listed(labels)):
        loss = Margin(margin=0.5, beta=2.0).double()
        value, count = loss.counted(rows.clone().requires_grad_(), labels, tuples)
        value.backward()
        slopes.append(float(loss.beta.grad))
        active.append(int(count))
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-9)
    assert active[0] == active[1] > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Triplet(margin=float("nan")),
        lambda: Triplet(soft=float("nan")),
        lambda: Contrastive(margin=float("nan")),
        lambda: Margin(beta=float("nan")),
    ],
)
def test_an_option_that_is_no_number_is_refused(make):
    with pytest.raises(UsageError):
        make()
