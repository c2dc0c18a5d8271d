"""Grouped batches: the classes of a batch share a group, as far as the groups reach."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metricforge_standard.samplers.grouped import Grouped

from metricforge.errors import DataError, UsageError
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.testing import check_sampler
from tests.standard.trainsets import build, epoch, labels_of, quick, seeds, sizes


def test_the_classes_of_a_batch_are_of_one_group():
    labels = labels_of([7] * 30)
    groups = labels // 3 % 3  # three groups of ten classes, which are not neighbours
    sampler = Grouped(labels, groups, classes=4, per_class=3)
    company = set()
    for seed in range(4):
        for batch in epoch(sampler, seed):
            assert len(groups[batch].unique()) == 1
            assert len(labels[batch].unique()) in (3, 4)
            company.add(tuple(labels[batch].unique().tolist()))
    assert len(company) > 60, "the same classes of a group meet again and again"
    assert sampler.notes == ()


def test_batches_of_different_groups_follow_each_other_at_random():
    labels = labels_of([20] * 20)
    sampler = Grouped(labels, labels // 30, classes=5, per_class=4)
    first = [int(labels[batch][0]) // 30 for batch in epoch(sampler)]
    changes = sum(a != b for a, b in pairwise(first))
    assert changes > len(first) / 5


@quick
@given(
    sizes=sizes,
    groups=st.lists(st.integers(0, 4), min_size=12, max_size=12),
    classes=st.integers(2, 6),
    per_class=st.integers(2, 5),
    seed=seeds,
)
def test_any_groups_make_whole_epochs(sizes, groups, classes, per_class, seed):
    labels = labels_of(sizes, seed)
    classes = min(classes, len(sizes))
    of_image = torch.tensor(groups)[labels // 3]
    batches = epoch(Grouped(labels, of_image, classes=classes, per_class=per_class), seed)
    assert torch.cat(batches).sort().values.equal(torch.arange(len(labels)))
    for batch in batches:
        assert len(batch.unique()) == len(batch) <= classes * max(per_class, 3)


@quick
@given(sizes=sizes, groups=st.integers(1, 5), places=st.integers(2, 3), seed=seeds)
def test_batches_of_several_groups_make_whole_epochs_too(sizes, groups, places, seed):
    labels = labels_of(sizes, seed)
    if groups * places > len(sizes):
        return
    options = {"classes": groups * places, "per_class": 3, "groups_per_batch": groups}
    batches = epoch(Grouped(labels, labels // 9, **options), seed)
    assert torch.cat(batches).sort().values.equal(torch.arange(len(labels)))
    assert all(len(batch) <= groups * places * 3 for batch in batches)


def test_a_batch_has_as_many_classes_of_each_of_its_groups():
    labels = labels_of([8] * 40)
    groups = labels // 15  # eight groups of five classes
    sampler = Grouped(labels, groups, classes=8, per_class=4, groups_per_batch=2)
    company = set()
    for seed in range(4):
        batches = epoch(sampler, seed)
        for batch in batches:
            found = groups[batch].unique()
            company.add(tuple(found.tolist()))
            assert len(found) == 2
            assert len(labels[batch].unique()) <= 8
            assert all(len(labels[batch][groups[batch] == one].unique()) <= 4 for one in found)
    assert len(company) > 15, "the same groups meet again and again"


@pytest.mark.parametrize("groups", [0, 3, 8])
def test_groups_that_can_not_share_the_classes_are_refused(groups):
    labels = labels_of([8] * 16)
    with pytest.raises(UsageError, match=f"{groups} groups can't share classes=8"):
        Grouped(labels, labels // 12, classes=8, groups_per_batch=groups)


def test_small_groups_are_counted_and_share_batches_with_the_next():
    labels = labels_of([8] * 14)
    groups = torch.tensor([0] * 8 + [1] * 3 + [2] * 2 + [3])[labels // 3]
    sampler = Grouped(labels, groups, classes=4, per_class=4)
    assert sampler.notes == (
        "3 of 4 groups have fewer than classes=4 classes: they share batches with the next "
        "larger group.",
    )
    together = {tuple(groups[batch].unique().tolist()) for batch in epoch(sampler)}
    assert (0,) in together
    assert all(0 not in some for some in together - {(0,)}), "the large group stays by itself"
    assert {group for some in together for group in some} == {0, 1, 2, 3}


def test_a_class_that_fills_the_batches_of_its_group_alone_is_said():
    # In the whole train set 37 of 65 chunks are of others; in its group, 3 of 31.
    labels = labels_of([112, 4, 4, 4] + [12] * 10 + [4] * 4)
    groups = (labels >= 3 * 4).long()
    sampler = Grouped(labels, groups, classes=2, per_class=4)
    assert sampler.notes == (
        "At least 13 of 33 batches hold one class alone, as it has 90 % of the images that may "
        "meet: they have no negatives.",
    )
    assert sum(len(labels[batch].unique()) == 1 for batch in epoch(sampler)) >= 13
    together = Grouped(labels, torch.zeros_like(labels), classes=2, per_class=4)
    assert together.notes == ()


def test_a_single_small_group_is_no_obstacle():
    labels = labels_of([8] * 3)
    sampler = Grouped(labels, torch.zeros_like(labels), classes=3, per_class=4)
    assert all(len(labels[batch].unique()) == 3 for batch in epoch(sampler))
    groups = labels // 3
    assert all(
        len(labels[batch].unique()) == 3
        for batch in epoch(Grouped(labels, groups, classes=3, per_class=4))
    )


def test_a_dataset_without_groups_is_refused_with_what_to_do():
    labels = labels_of([8] * 4)
    with pytest.raises(DataError, match=r"need groups, which .* take hard-triplet"):
        Grouped(labels, None)
    offers = {"labels": labels, "groups": None}
    with pytest.raises(DataError, match="take a dataset whose classes have groups"):
        Registry.installed().build("sampler", Spec("grouped"), offers)


@pytest.mark.parametrize("options", [{"classes": 1}, {"per_class": 1}])
def test_options_out_of_range_are_refused(options):
    labels = labels_of([8] * 4)
    with pytest.raises(UsageError, match=r"need (classes|per_class) >= 2, not \1="):
        Grouped(labels, labels, **options)


def test_more_classes_than_there_are_is_refused():
    with pytest.raises(DataError, match="set classes=4 or less"):
        build("grouped:classes=5", labels_of([8] * 4))


@pytest.mark.parametrize(
    "options",
    [{}, {"classes": 6, "per_class": 3}, {"classes": 2}, {"classes": 4, "groups_per_batch": 2}],
)
def test_the_kit_finds_nothing(options):
    check_sampler(Grouped, **options)
