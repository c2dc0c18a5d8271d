"""Losses of whole batches against naive loops in float64: tiled, and over listed pairs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metricforge_standard.losses.margin import Margin
from metricforge_standard.losses.multi_similarity import MultiSimilarity
from metricforge_standard.losses.nt_xent import NTXent
from metricforge_standard.losses.prototypical import Prototypical
from metricforge_standard.losses.softmax import Softmax
from metricforge_standard.losses.supcon import SupCon
from metricforge_standard.miners.multi_similarity import MultiSimilarity as MultiSimilarityMiner
from pytorch_metric_learning import losses as pml

from metricforge.contracts import AllPairs, AllTriplets, Pairs, Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import tiling

quick = settings(deadline=None, max_examples=40)

numbers = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0])
batches = st.lists(st.tuples(numbers, numbers, numbers, st.integers(0, 2)), max_size=8)


@pytest.fixture(params=[1, 4, 10**6], autouse=True)
def tile(request, monkeypatch):
    """The size of the tiles must not matter."""
    monkeypatch.setattr(tiling, "FEWEST_ANCHORS", request.param)
    monkeypatch.setattr(tiling, "ON_CPU", 1)


def batch_of(rows):
    embeddings = torch.tensor([r[:3] for r in rows], dtype=torch.float64).view(-1, 3)
    return embeddings.requires_grad_(), torch.tensor([r[3] for r in rows], dtype=torch.int64)


def random_batch(count=12, classes=4, dim=4, seed=3):
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dim, generator=rng, dtype=torch.float64)
    return rows.requires_grad_(), torch.arange(count) % classes


def cosines(embeddings):
    rows = [[v / max(math.hypot(*row), 1e-12) for v in row] for row in embeddings.tolist()]
    return [[sum(x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]


def pairs_of(labels, anchors=None):
    """The positives and the negatives of each anchor."""
    images = range(len(labels))
    for a in list(images)[:anchors]:
        same = [i for i in images if i != a and labels[i] == labels[a]]
        yield a, same, [i for i in images if labels[i] != labels[a]]


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def multi_similarity(embeddings, labels, epsilon=None, anchors=None):
    s = cosines(embeddings)
    terms = []
    for a, same, other in pairs_of(labels, anchors):
        near = max((s[a][i] for i in other), default=-math.inf)
        far = min((s[a][i] for i in same), default=math.inf)
        if epsilon is not None:
            same = [i for i in same if s[a][i] < near + epsilon]
            other = [i for i in other if s[a][i] > far - epsilon]
        pull = math.log(1 + sum(math.exp(-2 * (s[a][i] - 0.5)) for i in same)) / 2
        push = math.log(1 + sum(math.exp(50 * (s[a][i] - 0.5)) for i in other)) / 50
        if len(labels) > 1:
            terms.append(pull + push)
    return mean(terms)


def nt_xent(embeddings, labels, anchors=None):
    s = cosines(embeddings)
    terms = []
    for a, same, other in pairs_of(labels, anchors):
        negatives = sum(math.exp(s[a][i] / 0.1) for i in other)
        terms += [-math.log(math.exp(s[a][i] / 0.1) / (math.exp(s[a][i] / 0.1) + negatives))
                  for i in same]  # fmt: skip
    return mean(terms)


def supcon(embeddings, labels, anchors=None):
    s = cosines(embeddings)
    terms = []
    for a, same, other in pairs_of(labels, anchors):
        total = sum(math.exp(s[a][i] / 0.1) for i in (*same, *other))
        if same:
            terms.append(mean(-math.log(math.exp(s[a][i] / 0.1) / total) for i in same))
    return mean(terms)


LOSSES = {
    "multi-similarity": (MultiSimilarity(), multi_similarity),
    "multi-similarity:epsilon": (
        MultiSimilarity(epsilon=0.1),
        lambda *given, **more: multi_similarity(*given, epsilon=0.1, **more),
    ),
    "nt-xent": (NTXent(), nt_xent),
    "supcon": (SupCon(), supcon),
}
every_loss = pytest.mark.parametrize("name", LOSSES)

BATCHES = {
    "empty": [],
    "one image": [(1.0, 0.0, 0.0, 0)],
    "one class": [(1.0, 0.0, 0.0, 1), (0.0, 1.0, 0.0, 1), (1.0, 1.0, 0.0, 1)],
    "only singletons": [(1.0, 0.0, 0.0, 0), (0.0, 1.0, 0.0, 1), (1.0, 1.0, 0.0, 2)],
    "all in one place": [(1.0, 1.0, 1.0, c) for c in (0, 0, 1, 1)],
    "one at zero": [(0.0, 0.0, 0.0, 0), (0.0, 1.0, 0.0, 0), (1.0, 1.0, 0.0, 2)],
    "a class and one": [(1.0, 0.0, 0.0, 0), (0.0, 1.0, 0.0, 0), (1.0, 1.0, 0.0, 2)],
}


def check(name, embeddings, labels):
    loss, naive = LOSSES[name]
    expected = naive(embeddings.detach(), labels.tolist())
    for tuples in (None, AllPairs(), AllPairs().listed(labels)):
        embeddings.grad = None
        value = loss(embeddings, labels, tuples)
        assert value.ndim == 0
        assert float(value.detach()) == pytest.approx(expected, abs=1e-10)
        value.backward()
        assert bool(embeddings.grad.isfinite().all())


@every_loss
@pytest.mark.parametrize("batch", BATCHES)
def test_a_loss_of_what_is_special_is_the_naive_loop(name, batch):
    check(name, *batch_of(BATCHES[batch]))


@every_loss
@pytest.mark.parametrize("classes", [2, 5, 13])
def test_a_loss_is_the_naive_loop(name, classes):
    check(name, *random_batch(26, classes))


@every_loss
@quick
@given(rows=batches)
def test_a_loss_of_anything_is_the_naive_loop(name, rows):
    check(name, *batch_of(rows))


@every_loss
@pytest.mark.parametrize("anchors", [0, 1, 5])
def test_with_a_memory_only_the_batch_is_anchored(name, anchors):
    loss, naive = LOSSES[name]
    embeddings, labels = random_batch()
    expected = naive(embeddings.detach(), labels.tolist(), anchors=anchors)
    described = loss(embeddings, labels, AllPairs(anchors))
    listed = loss(embeddings, labels, AllPairs(anchors).listed(labels))
    assert float(described.detach()) == pytest.approx(expected, abs=1e-12)
    assert float(listed.detach()) == pytest.approx(expected, abs=1e-12)
    first, second = (torch.autograd.grad(v, embeddings)[0] for v in (described, listed))
    assert torch.allclose(first, second, atol=1e-10)


@every_loss
@pytest.mark.parametrize("tuples", [None, AllPairs(), AllPairs(5)])
def test_the_gradient_of_tiles_passes_gradcheck(name, tuples):
    embeddings, labels = random_batch()
    loss = LOSSES[name][0]
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, tuples), (embeddings,))


@every_loss
def test_the_gradient_over_listed_pairs_passes_gradcheck(name):
    embeddings, labels = random_batch()
    loss, pairs = LOSSES[name][0], AllPairs().listed(labels)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, pairs), (embeddings,))


@every_loss
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_other_precisions_agree_with_float64(name, dtype, tolerance):
    embeddings, labels = random_batch()
    loss = LOSSES[name][0]
    embeddings = embeddings.detach().to(dtype)
    exact = float(loss(embeddings.double(), labels, None))
    rows = embeddings.clone().requires_grad_()
    value = loss(rows, labels, None)
    assert float(value.detach()) == pytest.approx(exact, rel=tolerance)
    value.backward()
    assert rows.grad.dtype == dtype


@pytest.mark.parametrize("name", ["nt-xent", "supcon"])
def test_a_small_temperature_does_not_overflow(name):
    embeddings, labels = random_batch()
    rows = embeddings.detach().float().requires_grad_()
    loss = {"nt-xent": NTXent, "supcon": SupCon}[name](temperature=1e-3)
    value = loss(rows, labels, None)
    listed = loss(rows, labels, AllPairs().listed(labels))
    assert float(value.detach()) == pytest.approx(float(listed.detach()), rel=1e-4)
    value.backward()
    assert bool(rows.grad.isfinite().all())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (MultiSimilarity(), pml.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)),
        (NTXent(), pml.NTXentLoss(temperature=0.1)),
        (SupCon(), pml.SupConLoss(temperature=0.1)),
    ],
)
def test_a_loss_agrees_with_pytorch_metric_learning(ours, theirs):
    embeddings, labels = random_batch(20, 5)
    value, expected = ours(embeddings, labels, None), theirs(embeddings, labels)
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    first, second = (torch.autograd.grad(v, embeddings)[0] for v in (value, expected))
    assert torch.allclose(first, second, atol=1e-6)


def test_mining_within_the_loss_is_mining_before_it():
    embeddings, labels = random_batch(30, 6)
    pairs = MultiSimilarityMiner(epsilon=0.1)(embeddings.detach(), labels)
    before = MultiSimilarity()(embeddings, labels, pairs)
    within = MultiSimilarity(epsilon=0.1)
    value, active = within.counted(embeddings, labels, AllPairs())
    assert int(active) == len(pairs.anchor)
    # Anchors that lose all their pairs are none of the listed: the means are over others.
    listed = len(pairs.anchor.unique())
    assert float(value.detach()) * 30 == pytest.approx(float(before.detach()) * listed)


def naive_prototypical(embeddings, labels, shot, temperature):
    of_class = {}
    for place, label in enumerate(labels):
        of_class.setdefault(label, []).append(embeddings[place].tolist())
    prototypes = {
        label: [mean(column) for column in zip(*rows[:shot], strict=True)]
        for label, rows in of_class.items()
    }
    terms = []
    for label, rows in of_class.items():
        for row in rows[shot:]:
            power = {c: -(math.dist(row, p) ** 2) / temperature for c, p in prototypes.items()}
            top = max(power.values())
            terms.append(top + math.log(sum(math.exp(v - top) for v in power.values()))
                         - power[label])  # fmt: skip
    return mean(terms)


@pytest.mark.parametrize("shot", [1, 2, 5])
@pytest.mark.parametrize("classes", [1, 3, 7, 20])
def test_prototypical_is_the_naive_loop(shot, classes):
    embeddings, _ = random_batch(20)
    labels = torch.randint(classes, (20,), generator=torch.Generator().manual_seed(1))
    loss = Prototypical(shot=shot, temperature=0.5)
    value = loss(embeddings, labels, None)
    expected = naive_prototypical(embeddings.detach(), labels.tolist(), shot, 0.5)
    assert float(value.detach()) == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, None), (embeddings,))


def naive_softmax(embeddings, labels, weight, bias, scale, smoothing):
    """Of each image the smoothed label's mean of -log of the softmax."""
    terms = []
    for row, label in zip(embeddings.tolist(), labels.tolist(), strict=True):
        logits = [
            scale * sum(w * x for w, x in zip(ws, row, strict=True)) + b
            for ws, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        top = max(logits)
        total = top + math.log(sum(math.exp(logit - top) for logit in logits))
        everywhere = mean(total - logit for logit in logits)
        terms.append((1 - smoothing) * (total - logits[label]) + smoothing * everywhere)
    return mean(terms)


@pytest.mark.parametrize(("scale", "smoothing"), [(1, 0), (16, 0), (2, 0.1)])
def test_softmax_is_the_naive_loop_and_learns_its_classifier(scale, smoothing):
    embeddings, labels = random_batch()
    loss = Softmax(4, 6, scale=scale, smoothing=smoothing)
    layer = loss.classifier
    value = loss(embeddings, labels, None)
    naive = naive_softmax(embeddings.detach(), labels, layer.weight, layer.bias, scale, smoothing)
    assert float(value.detach()) == pytest.approx(naive, rel=1e-12)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, None), (embeddings,))
    value.backward()
    # Classes 4 and 5 are not in the batch: they are pushed away all the same.
    assert bool((layer.weight.grad.abs().sum(1) > 0).all())
    torch.testing.assert_close(layer.bias.grad.sum(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_softmax_of_nothing_is_zero_with_a_graph():
    embeddings, labels = random_batch(0)
    value = Softmax(4, 2)(embeddings, labels, None)
    value.backward()
    assert float(value.detach()) == 0
    assert embeddings.grad.shape == (0, 4)


@pytest.mark.parametrize(
    "options", [{"scale": 0}, {"scale": math.inf}, {"smoothing": 1}, {"smoothing": -0.1}]
)
def test_softmax_says_which_options_it_needs(options):
    with pytest.raises(UsageError, match=r"finite scale > 0 and smoothing in \[0, 1\)"):
        Softmax(4, 2, **options)


def naive_margin(embeddings, triplets, margin, beta):
    terms = []
    for a, p, n in zip(*(part.tolist() for part in triplets), strict=True):
        near = math.dist(embeddings[a], embeddings[p])
        far = math.dist(embeddings[a], embeddings[n])
        terms += [near - beta + margin, beta - far + margin]
    return mean(term for term in terms if term > 0)


def test_margin_is_the_naive_loop_and_learns_its_boundary():
    embeddings, labels = random_batch()
    triplets = AllTriplets().listed(labels)
    loss = Margin(margin=0.3, beta=2.0)
    value = loss(embeddings, labels, triplets)
    expected = naive_margin(embeddings.detach(), triplets, 0.3, 2.0)
    assert float(value.detach()) == pytest.approx(expected)
    value.backward()
    # More or fewer terms say that the boundary is too near than that it is too far.
    assert loss.beta.grad is not None
    assert float(loss.beta.grad) != 0
    # beta is float32: its own steps would be too coarse for gradcheck, the embeddings' are not.
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, triplets), (embeddings,))
    assert not Margin(learn=False).beta.requires_grad


def test_margin_without_triplets_is_zero_with_a_graph():
    embeddings, labels = random_batch()
    none = torch.zeros(0, dtype=torch.int64)
    value = Margin()(embeddings, labels, Triplets(none, none, none))
    value.backward()
    assert float(value.detach()) == 0
    assert float(embeddings.grad.abs().max()) == 0


@every_loss
def test_no_pairs_are_zero_with_a_graph(name):
    embeddings, labels = random_batch()
    none = torch.zeros(0, dtype=torch.int64)
    value = LOSSES[name][0](embeddings, labels, Pairs(none, none, none.bool()))
    value.backward()
    assert float(value.detach()) == 0
    assert float(embeddings.grad.abs().max()) == 0


@pytest.mark.parametrize(
    "build",
    [
        lambda: MultiSimilarity(alpha=0),
        lambda: MultiSimilarity(beta=-1),
        lambda: NTXent(temperature=0),
        lambda: SupCon(temperature=-1),
        lambda: Prototypical(shot=0),
        lambda: Prototypical(temperature=0),
        lambda: Margin(margin=0),
        lambda: Margin(beta=0),
    ],
)
def test_options_that_make_no_loss_are_refused(build):
    with pytest.raises(UsageError, match="needs"):
        build()


@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_multi_similarity_counts_the_pairs_that_count(epsilon):
    rng = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(24, 5, generator=rng, dtype=torch.float64), torch.arange(24) % 4
    rows.requires_grad_()
    loss = MultiSimilarity(epsilon=epsilon)
    described, listed = (
        int(loss.counted(rows, labels, tuples).active)
        for tuples in (AllPairs(), AllPairs().listed(labels))
    )
    assert described == listed
    assert epsilon is not None or described == 24 * 23
