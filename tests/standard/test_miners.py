"""Miners and listed tuples against naive loops, on random, tied, duplicate and empty batches."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metricforge_standard.miners.batch_hard import BatchHard, squared_distances
from metricforge_standard.miners.laid_out import LaidOutPairs, LaidOutTriplets
from metricforge_standard.miners.whole_batch import WholeBatch

from metricforge.contracts import AllPairs, AllTriplets, Pairs, Triplets

quick = settings(deadline=None, max_examples=100)

# Whole numbers, so that distances are exact, and few of them, so that ties and duplicates abound.
points = st.lists(
    st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 2)), min_size=0, max_size=14
)

BATCHES = {
    "empty": [],
    "one image": [(0, 0, 0)],
    "one class": [(0, 0, 1), (1, 0, 1), (2, 0, 1)],
    "only singletons": [(0, 0, 0), (1, 0, 1), (2, 0, 2)],
    "all in one place": [(1, 1, 0), (1, 1, 0), (1, 1, 1), (1, 1, 1)],
    "ties": [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 1), (0, -1, 1)],
}


def batch_of(rows, dtype=torch.float64):
    embeddings = torch.tensor([row[:2] for row in rows], dtype=dtype).view(-1, 2)
    return embeddings, torch.tensor([row[2] for row in rows], dtype=torch.int64)


def distance(rows, first, second):
    return math.dist(rows[first][:2], rows[second][:2])


def hardest_distances(rows):
    """For each anchor that has both: how far its farthest positive and nearest negative are."""
    found = {}
    for anchor in range(len(rows)):
        positives = [
            distance(rows, anchor, i)
            for i in range(len(rows))
            if i != anchor and rows[i][2] == rows[anchor][2]
        ]
        negatives = [
            distance(rows, anchor, i) for i in range(len(rows)) if rows[i][2] != rows[anchor][2]
        ]
        if positives and negatives:
            found[anchor] = (max(positives), min(negatives))
    return found


def check_batch_hard(rows, dtype):
    triplets = BatchHard()(*batch_of(rows, dtype))
    assert isinstance(triplets, Triplets)
    assert all(part.dtype == torch.int64 and part.ndim == 1 for part in triplets)
    found = {}
    for anchor, positive, negative in zip(*(part.tolist() for part in triplets), strict=True):
        assert anchor not in found
        assert positive != anchor
        assert rows[positive][2] == rows[anchor][2] != rows[negative][2]
        found[anchor] = (distance(rows, anchor, positive), distance(rows, anchor, negative))
    assert found == hardest_distances(rows)


# Half precision holds these whole numbers, too: it is widened before the distances.
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", BATCHES)
def test_batch_hard_on_what_is_special(name, dtype):
    check_batch_hard(BATCHES[name], dtype)


@quick
@given(points)
def test_batch_hard_is_the_naive_loop(rows):
    check_batch_hard(rows, torch.float64)


def test_batch_hard_finds_far_apart_what_bfloat16_would_round_together():
    # 257 and 256, the squared distances of the two negatives, are one number in bfloat16.
    rows = [(16, 0, 0), (15, 0, 0), (0, 1, 1), (0, 0, 1)]
    check_batch_hard(rows, torch.bfloat16)


def test_batch_hard_leaves_the_embeddings_alone_and_repeats_itself():
    embeddings = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    before = embeddings.clone()
    first, again = BatchHard()(embeddings, labels), BatchHard()(embeddings, labels)
    assert embeddings.equal(before)
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))


@quick
@given(points)
def test_squared_distances_are_those_of_the_loop(rows):
    found = squared_distances(batch_of(rows)[0])
    assert found.shape == (len(rows), len(rows))
    for first in range(len(rows)):
        for second in range(len(rows)):
            expected = distance(rows, first, second) ** 2
            assert float(found[first, second]) == pytest.approx(expected)


def check_listed(labels):
    numbers = range(len(labels))
    pairs = AllPairs().listed(torch.tensor(labels, dtype=torch.int64))
    assert isinstance(pairs, Pairs)
    assert pairs.same.dtype == torch.bool
    assert list(zip(*(part.tolist() for part in pairs), strict=True)) == [
        (a, b, labels[a] == labels[b]) for a in numbers for b in numbers if a < b
    ]
    triplets = AllTriplets().listed(torch.tensor(labels, dtype=torch.int64))
    assert isinstance(triplets, Triplets)
    assert list(zip(*(part.tolist() for part in triplets), strict=True)) == [
        (a, p, n)
        for a in numbers
        for p in numbers
        for n in numbers
        if a != p and labels[a] == labels[p] != labels[n]
    ]
    assert all(part.dtype == torch.int64 for part in (*pairs[:2], *triplets))


@pytest.mark.parametrize("labels", [[], [4], [1, 1, 1], [1, 2, 3], [5, -1, 5, -1]])
def test_listed_tuples_of_what_is_special(labels):
    check_listed(labels)


@quick
@given(st.lists(st.integers(-1, 3), max_size=9))
def test_listed_tuples_are_the_naive_loop(labels):
    check_listed(labels)


def test_what_is_listed_already_stays_as_it_is():
    labels = torch.tensor([0, 1])
    pairs = Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([False]))
    triplets = Triplets(torch.tensor([0]), torch.tensor([1]), torch.tensor([0]))
    assert pairs.listed(labels) is pairs
    assert triplets.listed(labels) is triplets


def test_laid_out_pairs_are_named_by_their_places():
    pairs = LaidOutPairs()(torch.zeros(6, 2), torch.tensor([1, 1, 1, 2, 3, 3]))
    assert [part.tolist() for part in pairs] == [[0, 2, 4], [1, 3, 5], [True, False, True]]


def test_laid_out_triplets_are_named_by_their_places():
    triplets = LaidOutTriplets()(torch.zeros(6, 2), torch.tensor([1, 1, 2, 2, 2, 3]))
    assert [part.tolist() for part in triplets] == [[0, 3], [1, 4], [2, 5]]


def test_the_whole_batch_is_no_tuples():
    assert WholeBatch().kind is None
    assert WholeBatch()(torch.zeros(4, 2), torch.arange(4)) is None


@pytest.mark.parametrize("miner", [LaidOutPairs(), LaidOutTriplets()])
def test_an_empty_batch_lays_out_nothing(miner):
    tuples = miner(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    assert isinstance(tuples, miner.kind)
    assert all(len(part) == 0 for part in tuples)
