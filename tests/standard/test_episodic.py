"""Episodes of a batch: N ways, support before queries, every image shown."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metricforge_standard.samplers.episodic import Episodic

from metricforge.errors import DataError, UsageError
from tests.standard.trainsets import epoch, labels_of, quick, seeds, sizes


@quick
@given(
    sizes=sizes,
    way=st.integers(2, 5),
    shot=st.integers(1, 3),
    queries=st.integers(1, 3),
    seed=seeds,
)
def test_an_epoch_of_episodes_is_whole(sizes, way, shot, queries, seed):
    labels = labels_of(sizes, seed)
    sampler = Episodic(labels, way=min(way, len(sizes)), shot=shot, queries=queries)
    batches = epoch(sampler, seed)
    shown = torch.cat(batches)
    assert shown.sort().values.equal(torch.arange(len(labels)))
    size = {label: int((labels == label).sum()) for label in labels.unique().tolist()}
    for batch in batches:
        assert len(batch.unique()) == len(batch)
        for label, images in Counter(labels[batch].tolist()).items():
            # Each has a query, however its images are cut.
            assert images >= min(size[label], shot + 1)


def test_an_episode_has_n_ways_with_support_and_queries():
    labels = labels_of([10] * 12)
    sampler = Episodic(labels, way=6, shot=2, queries=3)
    supports = set()
    for seed in range(20):
        for batch in epoch(sampler, seed):
            found = labels[batch]
            assert len(found.unique()) == 6
            for label in found.unique():
                images = batch[found == label]
                assert len(images) == 5
                if label == 1:
                    supports |= set(images[:2].tolist())
    # Support and queries change places from epoch to epoch.
    assert len(supports) == 10


def test_the_miner_leaves_the_batch_whole_and_the_loss_knows_the_shot():
    sampler = Episodic(labels_of([10] * 4), shot=3)
    assert sampler.miner.kind is None
    assert sampler.default_loss == "prototypical:shot=3"


def test_small_classes_are_said():
    sampler = Episodic(labels_of([1, 2, 4, 9, 9]), way=2, shot=2, queries=3)
    assert sampler.notes == (
        "2 classes have no more than shot=2 images: no queries.",
        "1 class has fewer than shot + queries = 5 images, which all come at once.",
    )


def test_a_class_that_fills_episodes_alone_is_said():
    (note,) = Episodic(labels_of([400] + [4] * 5), way=3, shot=1, queries=3).notes
    assert note.startswith("At least 30 of 35 batches hold one class alone, as it has 95 %")


@pytest.mark.parametrize("options", [{"way": 1}, {"shot": 0}, {"queries": 0}, {"way": -2}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match="episodic needs way >= 2, shot >= 1 and queries >= 1"):
        Episodic(labels_of([8] * 4), **options)


def test_more_ways_than_classes_are_refused_by_the_options_own_name():
    with pytest.raises(DataError, match=r"6 ways .* has 4 classes; set way=4 or less"):
        Episodic(labels_of([8] * 4), way=6)
