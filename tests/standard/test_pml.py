"""Every loss and miner of pytorch-metric-learning that a spec can name, and its options."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_metric_learning.losses as pml_losses
import pytorch_metric_learning.miners as pml_miners
import torch
from metricforge_standard._pml import LOSSES, MINERS, REFUSED

from metricforge.contracts import AllPairs, AllTriplets, Pairs, Triplets
from metricforge.enforcement import check_loss, check_tuples
from metricforge.errors import UsageError
from metricforge.registry import Registry
from metricforge.spec import Spec, asks_of, complete, options_of

REGISTRY = Registry.installed()
CLASSES, DIM, BATCH = 4, 8, 16
OFFERS = {"loss": {"dim": DIM, "num_classes": CLASSES}, "miner": {"margin": 0.2}}
FAMILIES = {"loss": LOSSES, "miner": MINERS}

every_loss = pytest.mark.parametrize("name", sorted(LOSSES))
every_miner = pytest.mark.parametrize("name", sorted(MINERS))
# What the library itself does with newer numpy and torch is not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence for multi:UserWarning"),
]


def build(kind, name, **options):
    """A component of the family, with 1 for what it requires and is not given."""
    factory = FAMILIES[kind][name]
    required = {key: "1" for key, option in options_of(factory).items() if option.required}
    return REGISTRY.build(kind, Spec(f"pml.{name}", required | options), OFFERS[kind])


def batch_of(classes=CLASSES):
    rng = torch.Generator().manual_seed(5)
    embeddings = torch.nn.functional.normalize(torch.randn(BATCH, DIM, generator=rng))
    return embeddings.requires_grad_(), torch.arange(BATCH) % classes


@every_loss
def test_a_loss_gives_a_finite_scalar_with_a_gradient(name):
    loss = build("loss", name)
    embeddings, labels = batch_of()
    value = loss(embeddings, labels, None)
    check_loss(loss, value)
    assert bool(value.isfinite())
    value.backward()
    assert bool(embeddings.grad.isfinite().all())
    assert float(embeddings.grad.abs().sum()) > 0


@every_miner
def test_a_miner_gives_tuples_of_its_kind_that_lie_in_the_batch(name):
    miner = build("miner", name)
    embeddings, labels = batch_of()
    tuples = miner(embeddings.detach(), labels, np.random.default_rng(0))
    assert miner.kind in (Pairs, Triplets)
    check_tuples(miner, tuples, labels)
    assert len(tuples.anchor) > 0
    if miner.kind is Pairs:
        assert tuples.same.dtype == torch.bool
        assert tuples.same.equal(labels[tuples.anchor] == labels[tuples.other])
        assert bool((tuples.anchor != tuples.other).all())
    else:
        assert labels[tuples.anchor].equal(labels[tuples.positive])
        assert bool((tuples.anchor != tuples.positive).all())
        assert bool((labels[tuples.anchor] != labels[tuples.negative]).all())


@every_miner
def test_a_miner_finds_nothing_wrong_in_a_batch_of_one_class(name):
    miner = build("miner", name)
    embeddings, labels = batch_of(classes=1)
    tuples = miner(embeddings.detach(), labels, np.random.default_rng(0))
    check_tuples(miner, tuples, labels)
    if miner.kind is Triplets:
        assert len(tuples.anchor) == 0
    else:
        assert bool(tuples.same.all())


@pytest.mark.parametrize("kind", ["loss", "miner"])
def test_the_families_hold_all_that_can_be_built(kind):
    module, base = {
        "loss": (pml_losses, pml_losses.BaseMetricLossFunction),
        "miner": (pml_miners, pml_miners.BaseMiner),
    }[kind]
    there = {n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, base)}
    missing = {n for n in there - set(FAMILIES[kind]) if not n.startswith("Base")} - set(REFUSED)
    # Those are made of other losses or of functions, which a spec can't write.
    assert missing <= {"GenericPairLoss", "SelfSupervisedLoss"}
    assert not set(REFUSED) & set(FAMILIES[kind])
    assert "BaseMiner" not in MINERS
    assert len(LOSSES) > 30
    assert len(MINERS) > 7


@every_loss
def test_a_loss_that_asks_for_classes_learns(name):
    learns = "num_classes" in asks_of(LOSSES[name])
    parameters = list(build("loss", name).parameters())
    assert bool(parameters) == learns
    assert all(p.requires_grad for p in parameters)


def test_proxies_have_the_dimensions_that_the_core_offers():
    (proxies,) = build("loss", "ProxyAnchorLoss").parameters()
    assert tuple(proxies.shape) == (CLASSES, DIM)
    (weights,) = build("loss", "NormalizedSoftmaxLoss").parameters()
    assert tuple(weights.shape) == (DIM, CLASSES)


def test_a_step_moves_the_proxies():
    loss = build("loss", "ProxyAnchorLoss")
    (proxies,) = loss.parameters()
    before = proxies.detach().clone()
    embeddings, labels = batch_of()
    loss(embeddings, labels, None).backward()
    torch.optim.SGD(loss.parameters(), lr=0.1).step()
    assert not before.equal(proxies)


def test_options_reach_the_library_with_their_types():
    loss = build("loss", "MultiSimilarityLoss", alpha="3", beta="40.5")
    assert (loss.loss.alpha, loss.loss.beta) == (3, 40.5)
    miner = build("miner", "TripletMarginMiner", margin="0.3", type_of_triplets="semihard")
    assert (miner.miner.margin, miner.miner.type_of_triplets) == (0.3, "semihard")
    swapped = build("loss", "TripletMarginLoss", swap="true")
    assert swapped.loss.swap is True


def test_an_option_changes_the_value():
    embeddings, labels = batch_of()
    values = {
        float(build("loss", "MultiSimilarityLoss", alpha=alpha)(embeddings, labels, None).detach())
        for alpha in ("1", "2", "8")
    }
    assert len(values) == 3


def test_without_options_the_librarys_own_defaults_hold():
    assert build("loss", "MultiSimilarityLoss").loss.alpha == pml_losses.MultiSimilarityLoss().alpha
    embeddings, labels = batch_of()
    for name in ("MultiSimilarityLoss", "ContrastiveLoss", "NTXentLoss", "CircleLoss"):
        theirs = getattr(pml_losses, name)()(embeddings, labels)
        assert build("loss", name)(embeddings, labels, None).equal(theirs)


@pytest.mark.parametrize("kind", ["loss", "miner"])
def test_the_record_of_a_component_builds_the_same(kind):
    # A run's config has every default written out; building from it must give no other loss.
    embeddings, labels = batch_of()
    for name, factory in FAMILIES[kind].items():
        required = {key: "1" for key, option in options_of(factory).items() if option.required}
        spec = Spec(f"pml.{name}", required)
        full = Spec.parse(str(complete(factory, spec, name)))
        values = []
        for each in (spec, full):
            torch.manual_seed(0)
            made = REGISTRY.build(kind, each, OFFERS[kind])
            torch.manual_seed(0)
            if kind == "loss":
                values.append([made(embeddings, labels, None).detach()])
            else:
                values.append(list(made(embeddings.detach(), labels, np.random.default_rng(0))))
        for first, second in zip(*values, strict=True):
            assert first.equal(second), name


def test_our_tuples_are_those_that_the_loss_sees():
    embeddings, labels = batch_of()
    triplets = Triplets(torch.tensor([0, 1]), torch.tensor([4, 5]), torch.tensor([2, 3]))
    theirs = pml_losses.TripletMarginLoss(margin=1.0)(embeddings, labels, tuple(triplets))
    assert build("loss", "TripletMarginLoss", margin="1.0")(embeddings, labels, triplets).equal(
        theirs
    )
    pairs = Pairs(
        torch.tensor([0, 0, 1]), torch.tensor([4, 1, 5]), torch.tensor([True, False, True])
    )
    indices = ([0, 1], [4, 5], [0], [1])
    theirs = pml_losses.ContrastiveLoss()(embeddings, labels, tuple(map(torch.tensor, indices)))
    assert build("loss", "ContrastiveLoss")(embeddings, labels, pairs).equal(theirs)


def test_a_whole_batch_is_left_to_the_library():
    embeddings, labels = batch_of()
    theirs = pml_losses.NTXentLoss()(embeddings, labels)
    assert build("loss", "NTXentLoss")(embeddings, labels, None).equal(theirs)


@pytest.mark.parametrize("described", [AllPairs(), AllTriplets(), AllPairs(3), AllTriplets(3)])
def test_described_tuples_count_like_listed(described):
    embeddings, labels = batch_of()
    loss = build("loss", "NTXentLoss")
    listed = loss(embeddings, labels, described.listed(labels))
    assert loss(embeddings, labels, described).equal(listed)


@pytest.mark.parametrize("name", ["TripletMarginLoss", "ContrastiveLoss", "MultiSimilarityLoss"])
@pytest.mark.parametrize("kind", [Pairs, Triplets])
def test_no_tuples_give_zero_with_a_graph(name, kind):
    embeddings, labels = batch_of()
    none = torch.zeros(0, dtype=torch.int64)
    tuples = Pairs(none, none, none.bool()) if kind is Pairs else Triplets(none, none, none)
    loss = build("loss", name)
    value = loss(embeddings, labels, tuples)
    check_loss(loss, value)
    assert float(value.detach()) == 0.0


def test_the_margin_of_a_loss_is_there_for_a_miner_that_asks():
    assert build("loss", "TripletMarginLoss", margin="0.3").margin == 0.3
    assert build("loss", "NTXentLoss").margin is None


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'MultiSimilarityLoss'"):
        REGISTRY.build("loss", Spec("pml.MultiSimilartyLoss"), OFFERS["loss"])
    with pytest.raises(UsageError, match="did you mean 'TripletMarginMiner'"):
        REGISTRY.build("miner", Spec("pml.TripletMarginMinor"), OFFERS["miner"])


def test_an_unknown_option_gives_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        build("loss", "MultiSimilarityLoss", alfa="1")


@pytest.mark.parametrize("alpha", ["two", "true", "", "none"])
def test_an_option_of_another_type_is_refused(alpha):
    with pytest.raises(
        UsageError, match=r"option 'alpha' of loss 'pml\.MultiSimilarityLoss' takes"
    ):
        build("loss", "MultiSimilarityLoss", alpha=alpha)


@pytest.mark.fault(87)
@every_miner
def test_the_options_of_a_miner_are_those_that_it_runs_with(name):
    miner = build("miner", name).miner
    for key, option in options_of(MINERS[name]).items():
        if not option.required:
            known = (
                (option.default, np.radians(option.default))
                if key == "angle"
                else (option.default,)
            )
            assert getattr(miner, key) in known, key


@pytest.mark.fault(87)
@pytest.mark.parametrize("option", ["pos_strategy", "neg_strategy"])
def test_what_batch_hard_miner_fixes_is_no_option_of_it(option):
    with pytest.raises(UsageError, match=f"unknown option of .*BatchHardMiner': '{option}'"):
        build("miner", "BatchHardMiner", **{option: "easy"})
    assert build("miner", "BatchEasyHardMiner", **{option: "hard"}).miner is not None


@every_loss
@pytest.mark.fault(88)
def test_a_loss_that_is_offered_trains_on_classes_of_other_sizes(name):
    loss = build("loss", name)
    embeddings, _ = batch_of()
    labels = torch.tensor([0] * 7 + [1] * 4 + [2] * 3 + [3] * 2)
    for _ in range(2):
        value = loss(embeddings, labels, None)
        check_loss(loss, value)
        value.backward()


@pytest.mark.fault(88, 90)
@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("SmoothAPLoss", "it fails for a batch whose classes differ in size"),
        ("MultipleLosses", "the loss sum adds up several, e.g. sum:a=supcon,b=multi-similarity"),
        ("CrossBatchMemory", "the sampler xbm remembers embeddings"),
        ("VICRegLoss", "it takes no labels"),
    ],
)
def test_a_loss_that_is_not_offered_is_refused_with_the_reason(name, instead):
    assert name not in LOSSES
    with pytest.raises(UsageError, match=rf"'pml\.{name}' is not offered: {instead}"):
        REGISTRY.build("loss", Spec(f"pml.{name}"), OFFERS["loss"])


@pytest.mark.fault(90)
def test_what_is_named_instead_is_there():
    assert "sum:a=supcon,b=multi-similarity." in REFUSED["MultipleLosses"] + "."
    both = REGISTRY.build("loss", Spec.parse("sum:a=supcon,b=multi-similarity"), OFFERS["loss"])
    assert both is not None


@pytest.mark.fault(89)
@pytest.mark.parametrize(
    ("kind", "name", "option"),
    [
        ("loss", "PNPLoss", "variant"),
        ("miner", "BatchEasyHardMiner", "pos_strategy"),
        ("miner", "BatchEasyHardMiner", "neg_strategy"),
    ],
)
def test_a_value_that_the_library_refuses_is_a_usage_error(kind, name, option):
    told = rf"^pytorch-metric-learning's {name} refuses these options: [^\n]*{option}[^\n]+\.$"
    with pytest.raises(UsageError, match=told):
        build(kind, name, **{option: "wrong"})


@pytest.mark.parametrize("kind", ["loss", "miner"])
def test_to_look_a_name_up_draws_nothing(kind):
    """Some classes draw their weights, and what is trained must not depend on a look."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for name in FAMILIES[kind]:
        assert options_of(FAMILIES[kind][name]) is not None
    assert torch.equal(torch.get_rng_state(), before)
