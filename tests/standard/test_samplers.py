"""The standard samplers: what an epoch shows, how batches are laid out, and what is refused."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metricforge.contracts import Pairs, Triplets
from metricforge.errors import DataError, UsageError
from metricforge.registry import Registry
from metricforge.spec import Spec

SAMPLERS = ("balanced", "hard-triplet", "random-pairs", "random-triplets")
CLASS_BALANCED = ("balanced", "hard-triplet")
REGISTRY = Registry.installed()

every_sampler = pytest.mark.parametrize("name", SAMPLERS)
class_balanced = pytest.mark.parametrize("name", CLASS_BALANCED)
quick = settings(deadline=None, max_examples=60)

# Singletons, classes below and above the usual K, and now and then a huge one.
sizes = st.lists(
    st.one_of(st.just(1), st.integers(2, 9), st.just(150)), min_size=2, max_size=12
).filter(lambda found: max(found) > 1)
seeds = st.integers(0, 2**32)


def build(text, labels):
    return REGISTRY.build("sampler", Spec.parse(text), {"labels": labels, "groups": None})


def labels_of(sizes, seed=0):
    """Labels with this many images a class, in random order, with gaps between the numbers."""
    labels = np.repeat(3 * np.arange(len(sizes)) + 1, sizes)
    return torch.from_numpy(np.random.default_rng(seed).permutation(labels))


def epoch(sampler, seed=0):
    return list(sampler.epoch(np.random.default_rng(seed)))


def small_options(name, classes):
    """The smallest batches, so that an epoch has many of them."""
    few = f"classes={min(classes, 3)},per_class=3"
    return {"random-pairs": "pairs=4", "random-triplets": "triplets=4"}.get(name, few)


def test_these_are_all_samplers_of_this_distribution():
    found = [e.name for e in REGISTRY.entries("sampler") if e.distribution == "metricforge"]
    assert found == list(SAMPLERS)


@every_sampler
@pytest.mark.parametrize("defaults", [True, False])
@quick
@given(sizes=sizes, seed=seeds)
def test_an_epoch_shows_every_image(name, defaults, sizes, seed):
    labels = labels_of(sizes, seed)
    options = "" if defaults else small_options(name, len(sizes))
    batches = epoch(build(f"{name}:{options}", labels), seed)
    for batch in batches:
        assert isinstance(batch, torch.Tensor)
        assert batch.dtype == torch.int64
        assert batch.ndim == 1
        assert len(batch) > 0
    shown = torch.cat(batches)
    assert set(shown.tolist()) == set(range(len(labels)))


@every_sampler
def test_an_epoch_is_a_function_of_its_generator(name):
    labels = labels_of([1, 2, 30, 9, 9])
    sampler = build(f"{name}:{small_options(name, 5)}", labels)
    first = torch.cat(epoch(sampler, 7))
    other = torch.cat(epoch(sampler, 8))
    again = torch.cat(epoch(sampler, 7))
    fresh = torch.cat(epoch(build(f"{name}:{small_options(name, 5)}", labels), 7))
    assert first.equal(again)
    assert first.equal(fresh)
    assert not first.equal(other)


@every_sampler
def test_global_random_state_is_neither_used_nor_touched(name):
    labels = labels_of([1, 2, 30, 9, 9])
    epochs = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = (random.getstate(), np.random.get_state(), torch.get_rng_state())
        epochs.append(torch.cat(epoch(build(name, labels))))
        assert random.getstate() == before[0]
        for old, new in zip(before[1], np.random.get_state(), strict=True):
            assert np.array_equal(old, new)
        assert torch.get_rng_state().equal(before[2])
    assert epochs[0].equal(epochs[1])


@class_balanced
@quick
@given(sizes=sizes, classes=st.integers(2, 6), per_class=st.integers(2, 6), seed=seeds)
def test_a_class_balanced_batch_holds_no_image_twice(name, sizes, classes, per_class, seed):
    labels = labels_of(sizes, seed)
    classes = min(classes, len(sizes))
    sampler = build(f"{name}:classes={classes},per_class={per_class}", labels)
    for batch in epoch(sampler, seed):
        assert len(batch.unique()) == len(batch) <= classes * per_class


@class_balanced
@quick
@given(
    there=st.integers(2, 9),
    size=st.integers(2, 20),
    classes=st.integers(2, 9),
    per_class=st.integers(2, 6),
    seed=seeds,
)
def test_balanced_data_gives_p_classes_of_k_images(name, there, size, classes, per_class, seed):
    labels = labels_of([size] * there, seed)
    classes = min(classes, there)
    sampler = build(f"{name}:classes={classes},per_class={per_class}", labels)
    batches = epoch(sampler, seed)
    each = min(per_class, size)
    for batch in batches:
        assert set(Counter(labels[batch].tolist()).values()) == {each}
    assert {len(batch) for batch in batches[:-1]} <= {classes * each}
    chunks = there * -(-size // per_class)
    assert len(batches) == -(-chunks // classes)


@class_balanced
def test_p_defaults_to_all_classes_and_k_to_a_batch_of_128_or_to_2(name):
    batches = epoch(build(name, labels_of([50] * 10)))
    assert len(batches[0]) == 10 * (2 if name == "hard-triplet" else 12)
    batches = epoch(build(name, labels_of([50] * 64)))
    assert len(batches[0]) == 32 * (2 if name == "hard-triplet" else 4)
    assert len(labels_of([50] * 64)[batches[0]].unique()) == 32


@class_balanced
@pytest.mark.parametrize("seed", range(3))
def test_a_class_of_half_of_all_images_leaves_others_to_compare_with(name, seed):
    labels = labels_of([400] + [20] * 20)
    batches = epoch(build(f"{name}:classes=4,per_class=4", labels), seed)
    # What is left over at the end may be of one class; in between nothing forces it.
    lonely = sum(len(labels[batch].unique()) == 1 for batch in batches)
    assert lonely <= 2, f"{lonely} of {len(batches)} batches have one class: nothing to compare"


@class_balanced
def test_the_images_of_a_class_are_shuffled_between_epochs(name):
    labels = torch.arange(4).repeat_interleave(8)
    sampler = build(f"{name}:classes=4,per_class=4", labels)

    def company(seed):
        return {frozenset(b[labels[b] == 0].tolist()) for b in epoch(sampler, seed)}

    assert len({frozenset(company(seed)) for seed in range(6)}) > 1


@quick
@given(sizes=sizes, pairs=st.integers(1, 9), positive=st.floats(0, 1), seed=seeds)
def test_laid_out_pairs_are_valid(sizes, pairs, positive, seed):
    labels = labels_of(sizes, seed)
    sampler = build(f"random-pairs:pairs={pairs},positive={positive!r}", labels)
    anchors = []
    for batch in epoch(sampler, seed):
        tuples = sampler.miner(torch.zeros(len(batch), 2), labels[batch])
        assert isinstance(tuples, Pairs)
        assert len(batch) == 2 * len(tuples.anchor) <= 2 * pairs
        anchor, other = batch[tuples.anchor], batch[tuples.other]
        assert bool((anchor != other).all())
        assert tuples.same.dtype == torch.bool
        assert tuples.same.equal(labels[anchor] == labels[other])
        assert sorted(torch.cat(tuples[:2]).tolist()) == list(range(len(batch)))
        anchors += anchor.tolist()
    assert sorted(anchors) == list(range(len(labels)))


@quick
@given(sizes=sizes, triplets=st.integers(1, 9), seed=seeds)
def test_laid_out_triplets_are_valid(sizes, triplets, seed):
    labels = labels_of(sizes, seed)
    sampler = build(f"random-triplets:triplets={triplets}", labels)
    anchors = Counter()
    for batch in epoch(sampler, seed):
        tuples = sampler.miner(torch.zeros(len(batch), 2), labels[batch])
        assert isinstance(tuples, Triplets)
        assert len(batch) == 3 * len(tuples.anchor) <= 3 * triplets
        anchor, positive, negative = (batch[places] for places in tuples)
        assert bool((anchor != positive).all())
        assert labels[anchor].equal(labels[positive])
        assert bool((labels[anchor] != labels[negative]).all())
        anchors.update(anchor.tolist())
    alone = {int(c) for c, n in zip(*labels.unique(return_counts=True), strict=True) if n == 1}
    assert set(anchors) == {i for i, c in enumerate(labels.tolist()) if c not in alone}


@pytest.mark.parametrize("positive", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_share_of_positive_pairs_is_as_asked(positive):
    labels = labels_of([400] * 10)
    batch = torch.cat(epoch(build(f"random-pairs:positive={positive}", labels)))
    same = (labels[batch[0::2]] == labels[batch[1::2]]).double().mean()
    # Five standard deviations of a binomial over 4,000 pairs; none at 0 and 1.
    assert float(same) == pytest.approx(positive, abs=5 * (positive * (1 - positive) / 4000) ** 0.5)


@pytest.mark.parametrize("name", ["random-pairs", "random-triplets"])
def test_partners_are_drawn_evenly(name):
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    sampler = build(f"{name}:{'positive=0.5' if name == 'random-pairs' else ''}", labels)
    width = 2 if name == "random-pairs" else 3
    same, other = Counter(), Counter()
    for seed in range(600):
        rows = torch.cat(epoch(sampler, seed)).view(-1, width)
        for row in rows[rows[:, 0] == 1].tolist():
            for image in row[1:]:
                (same if labels[image] == 0 else other)[image] += 1
    assert set(same) == {0, 2, 3}
    assert set(other) == {4, 5, 6}
    assert min(same.values()) > 0.7 * max(same.values())
    if name == "random-pairs":
        assert min(other.values()) > 0.7 * max(other.values())


@class_balanced
def test_more_classes_than_there_are_is_refused_with_their_number(name):
    with pytest.raises(DataError, match=r"asks for 9 classes .* has 5; set classes=5 or less"):
        build(f"{name}:classes=9", labels_of([4] * 5))


@every_sampler
@pytest.mark.parametrize("images", [0, 6])
def test_fewer_than_two_classes_are_refused(name, images):
    with pytest.raises(DataError, match="comparing needs at least two"):
        build(name, torch.zeros(images, dtype=torch.int64))


def test_triplets_without_any_positive_are_refused():
    with pytest.raises(DataError, match="every class of the train set has one image"):
        build("random-triplets", torch.arange(8))


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}:{bad}" for name in CLASS_BALANCED for bad in ("classes=1", "classes=0")),
        *(f"{name}:{bad}" for name in CLASS_BALANCED for bad in ("classes=-1", "per_class=1")),
        *(f"{name}:classes=2,per_class=0" for name in CLASS_BALANCED),
        "random-pairs:pairs=0",
        "random-pairs:positive=1.1",
        "random-pairs:positive=-0.1",
        "random-pairs:positive=nan",
        "random-triplets:triplets=0",
        "random-triplets:triplets=-3",
    ],
)
def test_options_out_of_range_are_refused(text):
    with pytest.raises(UsageError, match=r" needs? "):
        build(text, labels_of([4] * 5))


@every_sampler
def test_small_classes_are_counted_and_said(name):
    sampler = build(f"{name}:{small_options(name, 6)}", labels_of([1, 1, 2, 5, 5, 5]))
    notes = " ".join(sampler.notes)
    assert "2 classes have one image" in notes
    if name in CLASS_BALANCED:
        assert "1 classes have fewer than per_class=3 images" in notes


@every_sampler
def test_large_classes_need_no_note(name):
    assert tuple(build(f"{name}:{small_options(name, 4)}", labels_of([5] * 4)).notes) == ()


@every_sampler
def test_the_suggested_loss_exists_and_takes_the_miners_tuples(name):
    sampler = build(name, labels_of([5] * 4))
    loss = REGISTRY.build("loss", Spec.parse(sampler.default_loss), {"dim": 4, "num_classes": 4})
    accepts = getattr(loss, "accepts", None)
    assert accepts is None or sampler.miner.kind in accepts
