"""Batches with the pairs or triplets laid out in them: each valid, partners drawn evenly."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metricforge.contracts import Pairs, Triplets
from metricforge.errors import DataError, UsageError
from tests.standard.trainsets import build, epoch, labels_of, quick, seeds, sizes


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


def test_triplets_without_any_positive_are_refused():
    with pytest.raises(DataError, match="every class of the train set has one image"):
        build("random-triplets", torch.arange(8))


@pytest.mark.parametrize(
    "text",
    [
        "random-pairs:pairs=0",
        "random-pairs:positive=1.1",
        "random-pairs:positive=-0.1",
        "random-pairs:positive=nan",
        "random-triplets:triplets=0",
        "random-triplets:triplets=-3",
    ],
)
def test_options_out_of_range_are_refused(text):
    with pytest.raises(UsageError, match=r" needs "):
        build(text, labels_of([4] * 5))
