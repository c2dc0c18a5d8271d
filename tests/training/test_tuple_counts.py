"""Tuples that a batch holds, counted: the same numbers as listing them gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metricforge.contracts import AllPairs, AllTriplets, Pairs, Triplets
from metricforge.training.tuple_counts import chosen, possible

EMPTY = torch.zeros(0, dtype=torch.int64)
LISTED = {
    "pairs": Pairs(EMPTY + 1, EMPTY, EMPTY.bool()),
    "triplets": Triplets(EMPTY, EMPTY, EMPTY),
}

labels_of_a_batch = st.lists(st.integers(-2, 3), max_size=9).map(
    lambda found: torch.tensor(found, dtype=torch.int64)
)


@given(labels_of_a_batch, st.data())
def test_possible_tuples_are_those_that_a_listing_finds(labels, data):
    """With the first so many in the batch, and the others in a memory."""
    anchors = data.draw(st.integers(0, len(labels)))
    for kind, everything in (("pairs", AllPairs), ("triplets", AllTriplets)):
        expected = len(everything(anchors=anchors).listed(labels).anchor)
        assert int(possible(LISTED[kind], labels, anchors)) == expected
        assert int(possible(everything(), labels, anchors)) == expected


@given(labels_of_a_batch, st.data())
def test_described_tuples_are_counted_as_if_listed(labels, data):
    anchors = data.draw(st.none() | st.integers(0, len(labels) + 2))
    for everything in (AllPairs(anchors), AllTriplets(anchors)):
        expected = len(everything.listed(labels).anchor)
        assert int(chosen(everything, labels, len(labels))) == expected


def test_listed_tuples_are_as_many_as_they_are():
    pairs = Pairs(torch.tensor([0, 1, 0]), torch.tensor([1, 2, 2]), torch.ones(3).bool())
    assert chosen(pairs, torch.zeros(3), 3) == 3


@pytest.mark.fault(146)
def test_of_pairs_that_are_listed_once_there_are_half_as_many():
    labels = torch.tensor([0, 0, 0, 1])
    once = torch.triu_indices(4, 4, 1)
    twice = torch.cat([once, once.flip(0)], dim=1)
    for (anchor, other), count in ((once, 6), (twice, 12)):
        pairs = Pairs(anchor, other, labels[anchor] == labels[other])
        assert int(possible(pairs, labels, 4)) == count


def test_by_hand():
    """Classes of 3 and 1: 3 anchors x 2 positives x 1 negative; 4 x 3 pairs."""
    labels = torch.tensor([5, 0, 5, 5])
    assert int(possible(AllTriplets(), labels, 4)) == 6
    assert possible(AllPairs(), labels, 4) == 12
    # The first two in the batch: one anchor of class 5 with 2 positives and 1 negative.
    assert int(possible(AllTriplets(), labels, 2)) == 2
    assert possible(AllPairs(), labels, 2) == 6


@pytest.mark.parametrize("size", [4_096, 65_536])
def test_large_batches_overflow_nothing_and_are_not_listed(size):
    labels = torch.arange(size) % (size // 4)
    assert int(chosen(AllTriplets(), labels, size)) == size * 3 * (size - 4)
    assert chosen(AllPairs(), labels, size) == size * (size - 1)
