"""Plugins that break their contract are refused, by name, before they do any harm."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from metricforge_standard.losses.contrastive import Contrastive
from metricforge_standard.losses.triplet import Triplet
from metricforge_standard.miners._laid_out import LaidOutPairs
from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_standard.miners.whole_batch import WholeBatch

from metricforge.contracts import AllPairs, AllTriplets, Counted, Pairs, Triplets
from metricforge.enforcement import (
    as_batch,
    check_active,
    check_counted,
    check_fit,
    check_loss,
    check_tuples,
    checked_batches,
)
from metricforge.errors import PluginError, UsageError
from metricforge.plugin_errors import name_of

PLACES = torch.tensor([0, 1, 2])
LABELS = torch.zeros(5, dtype=torch.int64)
TRIPLETS = Triplets(PLACES, PLACES + 1, PLACES + 2)
PAIRS = Pairs(PLACES, PLACES + 1, torch.tensor([True, False, True]))


class Odd:
    """A plugin; what it gives is up to each test."""

    def __init__(self, kind=None):
        self.kind = kind


@pytest.mark.parametrize("batch", [torch.tensor([0]), torch.tensor([9, 0, 0, 5])])
def test_a_good_batch_passes(batch):
    assert as_batch(Odd(), batch) is batch


def test_a_batch_may_be_an_array_which_is_copied():
    mine = np.array([3, 1])
    batch = as_batch(Odd(), mine)
    mine[0] = 9
    assert batch.equal(torch.tensor([3, 1]))


@pytest.mark.parametrize(
    "batch",
    [
        [0, 1],
        np.array([0, 1], dtype=np.int32),
        np.array([0.0, 1.0]),
        np.array([[0, 1]]),
        np.zeros(0, dtype=np.int64),
        None,
        torch.tensor([0, 1], dtype=torch.int32),
        torch.tensor([0.0, 1.0]),
        torch.tensor([True, False]),
        torch.tensor([[0, 1]]),
        torch.tensor(3),
        torch.zeros(0, dtype=torch.int64),
    ],
    ids=str,
)
def test_a_bad_batch_names_the_sampler(batch):
    with pytest.raises(PluginError, match=r"test_enforcement:Odd must yield .*; it gave "):
        as_batch(Odd(), batch)


class Numbered:
    """A sampler whose batches tell the number of the epoch that it was given."""

    def epoch(self, rng, number):
        yield torch.tensor([number, 0])


class NumberedByName:
    def epoch(self, rng, *, number=7):
        yield torch.tensor([number, 0])


class Plain:
    """A sampler of batches that it was made with."""

    def __init__(self, *batches):
        self.batches = [torch.tensor(batch) for batch in batches]

    def epoch(self, rng):
        yield from self.batches


@pytest.mark.parametrize("sampler", [Numbered(), NumberedByName()])
def test_a_sampler_that_asks_is_told_the_number_of_the_epoch(sampler):
    rng = np.random.default_rng(0)
    assert [b.tolist() for b in checked_batches(sampler, rng, 10, 3)] == [[3, 0]]
    assert [b.tolist() for b in checked_batches(sampler, rng, 10)] == [[0, 0]]


def test_a_sampler_that_does_not_ask_is_not_told():
    batches = checked_batches(Plain([0, 9], [3]), np.random.default_rng(0), 10, 3)
    assert [batch.tolist() for batch in batches] == [[0, 9], [3]]


@pytest.mark.parametrize(
    ("batches", "given"),
    [([[0, 1], [2, 10]], "0 to 10"), ([[5, -1], [9, 9]], "-1 to 9"), ([[10]], "10 to 10")],
)
def test_an_index_that_no_image_has_names_the_sampler(batches, given):
    told = rf"test_enforcement:Plain must yield indices from 0 to 9; it gave {given}\."
    with pytest.raises(PluginError, match=told):
        checked_batches(Plain(*batches), np.random.default_rng(0), 10)


VALUE = torch.ones((), requires_grad=True)


@pytest.mark.parametrize(
    "active", [0, 3, torch.tensor(3), torch.tensor(2.0), torch.tensor(3, dtype=torch.int32)]
)
def test_active_tuples_may_be_an_int_or_a_tensor_without_dimensions(active):
    check_counted(Odd(), Counted(VALUE, active))


@pytest.mark.parametrize("found", [VALUE, None, (VALUE, 3), Counted(torch.ones(2), 3)], ids=str)
def test_what_counts_without_a_loss_names_it(found):
    with pytest.raises(PluginError, match=r"test_enforcement:Odd must (give|return) "):
        check_counted(Odd(), found)


@pytest.mark.parametrize(
    "active",
    [None, True, 0.5, "3", [3], np.int64(3), torch.tensor([3]), torch.tensor(True), len],
    ids=str,
)
def test_active_tuples_that_are_no_number_name_the_loss(active):
    with pytest.raises(PluginError, match=r"Odd must give in `active` how many .*;"):
        check_counted(Odd(), Counted(VALUE, active))


@pytest.mark.parametrize(("active", "tuples"), [(None, 3), (None, None), (0, 0), (3, 3), (9, None)])
def test_active_tuples_in_range_pass(active, tuples):
    check_active(Odd(), active, tuples)


@pytest.mark.parametrize(
    ("active", "tuples", "given"),
    [
        (-1, 3, "-1 of 3"),
        (4, 3, "4 of 3"),
        (-1, None, "-1"),
        (float("nan"), 3, "nan of 3"),
        (float("inf"), None, "inf"),
    ],
)
def test_active_tuples_out_of_range_name_the_loss(active, tuples, given):
    with pytest.raises(PluginError, match=rf"Odd must give in `active` .* {given}\."):
        check_active(Odd(), active, tuples)


@pytest.mark.parametrize(
    ("kind", "tuples"),
    [
        (Pairs, PAIRS),
        (Pairs, AllPairs()),
        (Pairs, Pairs(PLACES[:0], PLACES[:0], PLACES[:0].bool())),
        (Triplets, TRIPLETS),
        (Triplets, AllTriplets()),
        (Triplets, Triplets(PLACES[:0], PLACES[:0], PLACES[:0])),
        (None, None),
    ],
    ids=str,
)
def test_good_tuples_pass(kind, tuples):
    check_tuples(Odd(kind), tuples, LABELS)


@pytest.mark.parametrize(
    ("kind", "tuples"),
    [
        (Pairs, TRIPLETS),
        (Pairs, AllTriplets()),
        (Pairs, None),
        (Triplets, PAIRS),
        (Triplets, AllPairs()),
        (Triplets, tuple(TRIPLETS)),
        (Triplets, []),
        (None, TRIPLETS),
        (None, ()),
    ],
    ids=str,
)
def test_tuples_of_another_kind_name_the_miner(kind, tuples):
    with pytest.raises(PluginError, match=r"test_enforcement:Odd must return .*; it gave "):
        check_tuples(Odd(kind), tuples, LABELS)


@pytest.mark.parametrize(
    "tuples",
    [
        TRIPLETS._replace(negative=PLACES + 3),
        TRIPLETS._replace(anchor=PLACES - 1),
        PAIRS._replace(other=PLACES + 3),
        PAIRS._replace(anchor=PLACES - 1),
    ],
    ids=str,
)
def test_places_outside_the_batch_name_the_miner(tuples):
    with pytest.raises(PluginError, match="Odd must return places from 0 to 4"):
        check_tuples(Odd(type(tuples)), tuples, LABELS)


@pytest.mark.parametrize(
    "tuples",
    [
        TRIPLETS._replace(negative=PLACES.double()),
        TRIPLETS._replace(negative=PLACES.bool()),
        TRIPLETS._replace(negative=PLACES.tolist()),
        TRIPLETS._replace(negative=PLACES[:2]),
        TRIPLETS._replace(negative=PLACES[:, None]),
        PAIRS._replace(anchor=PLACES.double()),
        PAIRS._replace(other=PLACES[:2]),
        PAIRS._replace(same=PLACES),
        PAIRS._replace(same=PAIRS.same[:2]),
    ],
    ids=str,
)
def test_tuples_of_another_type_or_shape_name_the_miner(tuples):
    """The contract: 1-D tensors of one length, int64 but for `same`, which is bool."""
    with pytest.raises(PluginError, match="Odd must return"):
        check_tuples(Odd(type(tuples)), tuples, LABELS)


@pytest.mark.parametrize("kind", ["triplets", tuple, 3])
def test_an_unknown_kind_names_the_miner(kind):
    with pytest.raises(PluginError, match="Odd"):
        check_tuples(Odd(kind), TRIPLETS, LABELS)


def test_a_good_loss_passes():
    check_loss(Odd(), torch.ones(2, requires_grad=True).sum())


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        None,
        torch.tensor(0.5),
        torch.ones(2, requires_grad=True) * 2,
        torch.ones(1, requires_grad=True) * 2,
    ],
    ids=str,
)
def test_a_bad_loss_names_the_loss(value):
    with pytest.raises(PluginError, match=r"Odd must return a scalar tensor with a graph; it gave"):
        check_loss(Odd(), value)


@pytest.mark.parametrize(
    ("miner", "loss", "gives", "wants"),
    [
        (LaidOutPairs(), Triplet(), "pairs", "triplets"),
        (BatchHard(), Contrastive(), "triplets", "pairs"),
        (WholeBatch(), Triplet(), "the whole batch", "triplets"),
    ],
)
def test_a_miner_and_a_loss_that_do_not_fit_are_refused_with_those_that_do(
    miner, loss, gives, wants
):
    with pytest.raises(UsageError) as caught:
        check_fit(miner, loss, lambda: "this, that")
    message = str(caught.value)
    assert f"{type(loss).__qualname__} compares {wants}" in message
    assert f"{type(miner).__qualname__} gives {gives}" in message
    assert "losses that fit: this, that." in message


@pytest.mark.parametrize("miner", [LaidOutPairs(), BatchHard(), WholeBatch()])
def test_a_loss_that_says_nothing_takes_all(miner):
    check_fit(miner, Odd(), "")


def test_those_that_fit_pass():
    check_fit(LaidOutPairs(), Contrastive(), "")
    check_fit(BatchHard(), Triplet(), "")


def test_plugins_are_named_by_their_class_or_function():
    assert name_of(Odd()).endswith("test_enforcement:Odd")
    assert name_of(test_a_good_loss_passes).endswith("test_enforcement:test_a_good_loss_passes")
    assert "functools" in name_of(functools.partial(print))
