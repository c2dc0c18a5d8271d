"""Every standard sampler: what an epoch shows, what it is a function of, and what is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given

from metricforge.errors import DataError
from metricforge.spec import Spec
from tests.standard.trainsets import (
    REGISTRY,
    SAMPLERS,
    build,
    epoch,
    labels_of,
    quick,
    seeds,
    sizes,
    smallest,
    usual,
)

LAID_OUT = ("random-pairs", "random-triplets", "schedule")
"""Samplers that draw partners, which come as often as chance has it; or may wrap one that does."""
every_sampler = pytest.mark.parametrize("name", SAMPLERS)


@every_sampler
@pytest.mark.parametrize("small", [True, False])
@quick
@given(sizes=sizes, seed=seeds)
def test_an_epoch_shows_every_image(name, small, sizes, seed):
    labels = labels_of(sizes, seed)
    spec = smallest(name, len(sizes)) if small else usual(name)
    batches = epoch(build(spec, labels), seed)
    for batch in batches:
        assert isinstance(batch, torch.Tensor)
        assert batch.dtype == torch.int64
        assert batch.ndim == 1
        assert len(batch) > 0
    shown = torch.cat(batches)
    assert set(shown.tolist()) == set(range(len(labels)))
    if name not in LAID_OUT:
        assert len(shown) == len(labels), "an image is shown more than once"


@every_sampler
def test_an_epoch_is_a_function_of_its_generator(name):
    labels = labels_of([1, 2, 30, 9, 9])
    sampler = build(smallest(name, 5), labels)
    first = torch.cat(epoch(sampler, 7))
    other = torch.cat(epoch(sampler, 8))
    again = torch.cat(epoch(sampler, 7))
    fresh = torch.cat(epoch(build(smallest(name, 5), labels), 7))
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
        epochs.append(torch.cat(epoch(build(usual(name), labels))))
        assert random.getstate() == before[0]
        for old, new in zip(before[1], np.random.get_state(), strict=True):
            assert np.array_equal(old, new)
        assert torch.get_rng_state().equal(before[2])
    assert epochs[0].equal(epochs[1])


@every_sampler
@pytest.mark.parametrize("images", [0, 6])
def test_fewer_than_two_classes_are_refused(name, images):
    with pytest.raises(DataError, match="comparing needs at least two"):
        build(usual(name), torch.zeros(images, dtype=torch.int64))


@every_sampler
def test_small_classes_are_counted_and_said(name):
    sampler = build(smallest(name, 6), labels_of([1, 1, 2, 5, 5, 5]))
    notes = " ".join(sampler.notes)
    single = "no more than shot=1 images" if name == "episodic" else "one image"
    assert f"2 classes have {single}" in notes
    if "per_class" in smallest(name, 6):
        assert "1 class has fewer than per_class=3 images" in notes


@every_sampler
def test_large_classes_need_no_note(name):
    assert tuple(build(smallest(name, 4), labels_of([5] * 4)).notes) == ()


@every_sampler
def test_the_suggested_loss_exists_and_takes_the_miners_tuples(name):
    sampler = build(usual(name), labels_of([5] * 4))
    loss = REGISTRY.build("loss", Spec.parse(sampler.default_loss), {"dim": 4, "num_classes": 4})
    accepts = getattr(loss, "accepts", None)
    assert accepts is None or sampler.miner.kind in accepts
