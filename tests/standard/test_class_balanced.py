"""P x K batches: whole epochs, distinct classes, even batches, and free company of classes."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metricforge_standard.samplers._class_balanced import ClassBalanced
from metricforge_standard.samplers._class_index import ClassIndex
from metricforge_standard.samplers._deal import NONE, deal

from metricforge.errors import DataError, UsageError
from tests.standard.trainsets import build, epoch, labels_of, quick, seeds, sizes

CLASS_BALANCED = ("balanced", "hard-triplet")
class_balanced = pytest.mark.parametrize("name", CLASS_BALANCED)
counts = st.lists(st.one_of(st.integers(1, 9), st.just(60)), min_size=2, max_size=12)


def dealt_of(counts, places, seed):
    count = np.array(counts)
    return deal(np.cumsum(count) - count, count, places, np.random.default_rng(seed))


@quick
@given(counts=counts, places=st.integers(2, 9), seed=seeds)
def test_a_deal_is_whole_even_and_holds_a_class_once_where_it_can(counts, places, seed):
    count = np.array(counts)
    dealt = dealt_of(counts, places, seed)
    batches = len(dealt)
    assert sorted(dealt[dealt != NONE]) == list(range(sum(counts)))
    assert batches == -(-sum(counts) // places)
    filled = (dealt != NONE).sum(1)
    assert filled.max() - filled.min() <= 1
    of_class = np.repeat(np.arange(len(count)), count)
    for batch in dealt:
        held = np.bincount(of_class[batch[batch != NONE]], minlength=len(count))
        # Evenly: a class of at most one chunk a batch is there once, a larger one as it must.
        assert (held <= -(-count // batches)).all()
        assert (held >= count // batches).all()


@quick
@given(large=st.integers(20, 90), others=st.integers(1, 60), places=st.integers(2, 9), seed=seeds)
def test_a_batch_of_one_class_only_comes_where_the_others_run_out(large, others, places, seed):
    dealt = dealt_of([large, *[1] * others], places, seed)
    lonely = int((np.where(dealt == NONE, 0, dealt) < large).all(1).sum())
    # With an odd number of chunks, batches of two leave one alone.
    assert lonely <= max(0, len(dealt) - others) + (places == 2)


def test_all_classes_meet_and_are_not_dealt_in_blocks():
    of_class = np.repeat(np.arange(40), 5)
    met, company = Counter(), []
    for seed in range(60):
        classes = of_class[dealt_of([5] * 40, 8, seed)]
        for batch in classes:
            met.update(combinations(sorted(batch.tolist()), 2))
        company.append(len(set(classes[(classes == 0).any(1)].ravel().tolist())))
    pairs = [met[pair] for pair in combinations(range(40), 2)]
    # 5 batches of 7 others, 60 times, among 39: 54 meetings of a pair, give or take.
    assert 25 < min(pairs) <= max(pairs) < 95
    # In one epoch its 35 companions are some 23 of the 39, not the same 7 again and again.
    assert 20 < np.mean(company) < 27


some_sizes = st.lists(st.one_of(st.integers(1, 40), st.just(150)), min_size=2, max_size=12)


@quick
@given(sizes=some_sizes, classes=st.integers(2, 6), per_class=st.integers(2, 16), seed=seeds)
def test_an_epoch_shows_each_image_exactly_once(sizes, classes, per_class, seed):
    labels = labels_of(sizes, seed)
    sampler = ClassBalanced(labels, classes=min(classes, len(sizes)), per_class=per_class)
    shown = torch.cat(epoch(sampler, seed))
    assert shown.sort().values.equal(torch.arange(len(labels)))


@quick
@given(sizes=some_sizes, per_class=st.integers(2, 16), least=st.integers(2, 6), seed=seeds)
def test_a_class_is_cut_evenly_into_as_few_chunks_as_it_can_be(sizes, per_class, least, seed):
    least = min(least, per_class)
    sampler = ClassBalanced(labels_of(sizes), classes=2, per_class=per_class, least=least)
    chunks = sampler.chunks
    assert np.array_equal(np.bincount(chunks.of_class, chunks.length), sampler.index.size)
    for size, begin, count in zip(sampler.index.size, chunks.begin, chunks.count, strict=True):
        length = chunks.length[begin : begin + count]
        assert length.max() - length.min() <= 1
        assert length.min() >= min(size, least)
        # K is passed only where one more chunk would leave one with too few.
        assert length.max() <= per_class or size // (count + 1) < least
        assert count == 1 or -(-size // (count - 1)) > per_class


@pytest.mark.parametrize(
    ("size", "per_class", "lengths"),
    [(17, 16, [8, 9]), (16, 16, [16]), (5, 2, [2, 3]), (3, 2, [3]), (1, 2, [1]), (7, 3, [2, 2, 3])],
)
def test_a_cut_by_hand(size, per_class, lengths):
    sampler = ClassBalanced(labels_of([size] * 2), classes=2, per_class=per_class)
    assert sampler.chunks.length.tolist() == lengths * 2


@pytest.mark.parametrize("classes", [10, 5_000])
def test_an_epoch_takes_little_memory(classes):
    labels = torch.arange(100_000) % classes
    sampler = ClassBalanced(labels, classes=None, per_class=None)
    tracemalloc.start()
    for _ in sampler.epoch(np.random.default_rng(0)):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The shuffled order and the deal; beside them the few batches of a slab, about 4 MB.
    assert peak < 24 * len(labels) + 4e6


@class_balanced
@quick
@given(sizes=sizes, classes=st.integers(2, 6), per_class=st.integers(2, 6), seed=seeds)
def test_a_class_balanced_batch_holds_no_image_twice(name, sizes, classes, per_class, seed):
    labels = labels_of(sizes, seed)
    classes = min(classes, len(sizes))
    sampler = build(f"{name}:classes={classes},per_class={per_class}", labels)
    for batch in epoch(sampler, seed):
        # With K = 2, a chunk of a class with an odd number of images has three.
        assert len(batch.unique()) == len(batch) <= classes * max(per_class, 3)


@class_balanced
@quick
@given(
    there=st.integers(2, 9),
    size=st.integers(2, 20),
    classes=st.integers(2, 9),
    per_class=st.integers(2, 6),
    seed=seeds,
)
def test_balanced_data_gives_p_classes_of_about_k_images(
    name, there, size, classes, per_class, seed
):
    labels = labels_of([size] * there, seed)
    classes = min(classes, there)
    sampler = build(f"{name}:classes={classes},per_class={per_class}", labels)
    batches = epoch(sampler, seed)
    each = min(-(-size // per_class), size // 2)  # chunks of a class
    held = [Counter(labels[batch].tolist()) for batch in batches]
    for counts in held:
        assert set(counts.values()) <= {size // each, -(-size // each)}
    chunks = there * each
    assert len(batches) == -(-chunks // classes)
    # Rather one class less in some batches than a last one that has next to none.
    fewest = chunks // len(batches)
    assert {len(counts) for counts in held} <= {fewest, fewest + 1}


@class_balanced
def test_p_defaults_to_all_classes_and_k_to_a_batch_of_128_or_to_2(name):
    batches = epoch(build(name, labels_of([48] * 10)))
    assert len(batches[0]) == 10 * (2 if name == "hard-triplet" else 12)
    batches = epoch(build(name, labels_of([48] * 64)))
    assert len(batches[0]) == 32 * (2 if name == "hard-triplet" else 4)
    assert len(labels_of([48] * 64)[batches[0]].unique()) == 32


@class_balanced
@pytest.mark.parametrize("seed", range(3))
def test_a_class_of_half_of_all_images_leaves_others_to_compare_with(name, seed):
    labels = labels_of([400] + [20] * 20)
    batches = epoch(build(f"{name}:classes=4,per_class=4", labels), seed)
    lonely = sum(len(labels[batch].unique()) == 1 for batch in batches)
    assert lonely == 0, f"{lonely} of {len(batches)} batches have one class: nothing to compare"


def test_a_class_that_fills_batches_alone_is_said_before_training():
    # 200 chunks of the one class and 20 of others make 55 batches.
    labels = labels_of([800] + [4] * 20)
    sampler = build("balanced:classes=4,per_class=4", labels)
    assert sampler.notes == (
        "1 class has more than 1/4 of the images, and up to 16 a batch instead of per_class=4; the "
        "option cap=4 shows as many of every class in each epoch.",
        "At least 35 of 55 batches hold one class alone, as it has 90 % of the images that may "
        "meet: they have no negatives.",
    )
    assert sum(len(labels[batch].unique()) == 1 for batch in epoch(sampler)) == 35
    # 66 others with 200 chunks make 67 batches, 67 others as many.
    for others, notes in ((66, 1), (67, 0)):
        labels = labels_of([800] + [4] * others)
        told = build("balanced:classes=4,per_class=4", labels).notes
        assert len([note for note in told if note.startswith("At least")]) == notes


@pytest.mark.fault(101)
@quick
@given(
    sizes=some_sizes,
    classes=st.integers(2, 6),
    per_class=st.integers(2, 6),
    cap=st.integers(2, 30),
    seed=seeds,
)
def test_with_a_cap_an_epoch_shows_so_many_of_each_class(sizes, classes, per_class, cap, seed):
    labels = labels_of(sizes, seed)
    classes = min(classes, len(sizes))
    sampler = ClassBalanced(labels, classes=classes, per_class=per_class, cap=cap)
    batches = epoch(sampler, seed)
    shown = torch.cat(batches)
    assert len(shown.unique()) == len(shown)
    counts = Counter(labels[shown].tolist())
    assert counts == {c: min(n, cap) for c, n in Counter(labels.tolist()).items()}
    # A class of one chunk comes in one batch.
    if cap <= per_class:
        assert sum(len(labels[batch].unique()) for batch in batches) == len(sizes)


@pytest.mark.fault(101)
def test_a_capped_class_is_drawn_anew_in_each_epoch():
    labels = labels_of([300] + [6] * 20)
    large = int(labels.bincount().argmax())
    sampler = build("hard-triplet:classes=8,per_class=4,cap=6", labels)
    assert sampler.notes == ()
    seen, epochs = Counter(), 200
    for seed in range(epochs):
        batches = epoch(sampler, seed)
        for batch in batches:
            held = Counter(labels[batch].tolist())
            assert len(held) in (7, 8)
            assert set(held.values()) <= {2, 3, 4}
        shown = torch.cat(batches)
        seen.update(shown[labels[shown] == large].tolist())
    # 6 of 300 in each of 200 epochs: 4 times each, give or take.
    assert sum(seen.values()) == 6 * epochs
    assert len(seen) > 280
    assert max(seen.values()) < 16


@pytest.mark.fault(101)
def test_classes_that_crowd_the_batches_are_told_with_counts():
    labels = labels_of([300] + [6] * 20)
    sampler = build("hard-triplet:classes=8,per_class=4", labels)
    (note,) = sampler.notes
    assert note.startswith("1 class has more than 1/8 of the images, and up to ")
    most = int(note.split("up to ")[1].split()[0])
    assert note.endswith("the option cap=6 shows as many of every class in each epoch.")
    held = [max(Counter(labels[batch].tolist()).values()) for batch in epoch(sampler)]
    assert most - 4 <= max(held) <= most
    assert max(held) > 4
    # The option that it names settles it.
    assert build("hard-triplet:classes=8,per_class=4,cap=6", labels).notes == ()
    assert build("hard-triplet:classes=8,per_class=4", labels_of([6] * 21)).notes == ()


@pytest.mark.fault(101)
@pytest.mark.parametrize("cap", [1, 0, -3])
def test_a_cap_leaves_pairs(cap):
    with pytest.raises(UsageError, match=f"need cap >= 2, not cap={cap}"):
        build(f"balanced:classes=2,per_class=2,cap={cap}", labels_of([4] * 5))


@quick
@given(sizes=some_sizes, classes=st.integers(3, 6), per_class=st.integers(2, 6), seed=seeds)
def test_as_many_batches_are_alone_as_was_said(sizes, classes, per_class, seed):
    labels = labels_of(sizes, seed)
    sampler = ClassBalanced(labels, classes=min(classes, len(sizes)), per_class=per_class)
    alone = sum(len(labels[batch].unique()) == 1 for batch in epoch(sampler, seed))
    said = [int(note.split()[2]) for note in sampler.notes if note.startswith("At least")]
    # Of two classes a batch, an odd number of chunks leaves one alone as well.
    assert 0 <= alone - sum(said) <= (sampler.classes == 2)


def test_classes_of_one_size_are_each_shuffled_in_their_own_way():
    index = ClassIndex.of(torch.arange(50).repeat_interleave(6))
    shuffled = index.shuffled(np.random.default_rng(0)).reshape(50, 6)
    assert (shuffled // 6 == np.arange(50)[:, None]).all()
    # Of 720 orders, 50 draws are nearly all different.
    assert len({tuple(row) for row in (shuffled % 6).tolist()}) > 40


@class_balanced
def test_the_images_of_a_class_are_shuffled_between_epochs(name):
    labels = torch.arange(4).repeat_interleave(8)
    sampler = build(f"{name}:classes=4,per_class=4", labels)

    def company(seed):
        return {frozenset(b[labels[b] == 0].tolist()) for b in epoch(sampler, seed)}

    assert len({frozenset(company(seed)) for seed in range(6)}) > 1


@class_balanced
def test_more_classes_than_there_are_is_refused_with_their_number(name):
    with pytest.raises(DataError, match=r"needs 9 classes .* has 5; set classes=5 or less"):
        build(f"{name}:classes=9", labels_of([4] * 5))


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}:{bad}" for name in CLASS_BALANCED for bad in ("classes=1", "classes=0")),
        *(f"{name}:{bad}" for name in CLASS_BALANCED for bad in ("classes=-1", "per_class=1")),
        *(f"{name}:classes=2,per_class=0" for name in CLASS_BALANCED),
    ],
)
def test_options_out_of_range_are_refused(text):
    with pytest.raises(UsageError, match=r" needs? "):
        build(text, labels_of([4] * 5))
