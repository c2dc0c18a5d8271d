"""Samplers by epoch: which stage has which epoch, how two blend, and what can't be combined."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metricforge_standard.samplers.global_hard import GlobalHard
from metricforge_standard.samplers.schedule import Schedule

from metricforge.contracts import Triplets
from metricforge.errors import UsageError
from metricforge.registry import Registry
from metricforge.runs.train import train
from metricforge.spec import Spec
from metricforge.testing import check_sampler
from tests.standard.trainsets import build, epoch, labels_of, quick, seeds, sizes
from tests.training.test_checkpoint import same_from_everywhere

LABELS = labels_of([12] * 10)
TWO = "schedule:0=random-triplets:triplets=4,3=hard-triplet:classes=5,blend=2"
FIRST, SECOND = 12, 10  # images a batch of either


def lengths(sampler, number):
    """How many batches there are of each length, and that the miners fit."""
    batches = epoch(sampler, 0, number)
    for step, batch in enumerate(batches):
        miner = sampler.miner_at(number, step)
        laid_out = type(miner).__name__ == "LaidOutTriplets"
        assert laid_out == (len(batch) == FIRST), f"epoch {number}, step {step}"
    return Counter(map(len, batches))


def test_each_epoch_is_of_its_stage():
    sampler = build("schedule:0=random-triplets:triplets=4,2=hard-triplet:classes=5", LABELS)
    assert [set(lengths(sampler, number)) for number in range(4)] == [
        {FIRST}, {FIRST}, {SECOND}, {SECOND},
    ]  # fmt: skip
    assert type(sampler.miner).__name__ == "LaidOutTriplets"
    # It may be asked for any epoch, in any order, as a run that goes on does.
    assert set(lengths(sampler, 0)) == {FIRST}
    assert set(lengths(sampler, 9_999)) == {SECOND}


def test_a_stage_draws_what_it_would_by_itself():
    sampler = build("schedule:0=random-triplets,2=hard-triplet", LABELS)
    for number, spec in ((1, "random-triplets"), (2, "hard-triplet")):
        alone = epoch(build(spec, LABELS), 5)
        drawn = epoch(sampler, 5, number)
        assert all(a.equal(b) for a, b in zip(alone, drawn, strict=True))


def test_the_share_of_the_new_stage_rises_linearly():
    sampler = build(TWO, LABELS)
    assert set(lengths(sampler, 2)) == {FIRST}
    shares = []
    for number in (3, 4):
        found = lengths(sampler, number)
        shares.append(found[SECOND] / found.total())
    assert shares == pytest.approx([1 / 3, 2 / 3], abs=0.05)
    assert set(lengths(sampler, 5)) == {SECOND}


def test_blended_batches_come_in_random_order():
    lengths_in_order = [len(batch) for batch in epoch(build(TWO, LABELS), 0, 4)]
    changes = sum(a != b for a, b in pairwise(lengths_in_order))
    assert changes > 5


@quick
@given(
    sizes=sizes,
    starts=st.lists(st.integers(1, 6), unique=True, max_size=3),
    blend=st.integers(0, 4),
    number=st.integers(0, 9),
    seed=seeds,
)
def test_every_epoch_shows_every_image_with_true_tuples(sizes, starts, blend, number, seed):
    labels = labels_of(sizes, seed)
    names = ("random-triplets", "hard-triplet", "random-triplets:triplets=3")
    stages = ["0=hard-triplet", *(f"{s}={n}" for s, n in zip(starts, names, strict=False))]
    ends = sorted(starts)
    blend = min([blend, *(end - start for start, end in pairwise(ends))])
    sampler = build(f"schedule:blend={blend},{','.join(stages)}", labels)
    batches = epoch(sampler, seed, number)
    assert set(torch.cat(batches).tolist()) == set(range(len(labels)))
    for step, batch in enumerate(batches):
        tuples = sampler.miner_at(number, step)(torch.randn(len(batch), 2), labels[batch])
        assert isinstance(tuples, Triplets)
        anchor, positive, negative = (labels[batch][places] for places in tuples)
        assert anchor.equal(positive)
        assert bool((anchor != negative).all())


def test_a_blended_epoch_goes_on_from_its_state():
    straight = build(TWO, LABELS)
    batches = epoch(straight, 0, 3)
    state = {name: value.clone() for name, value in straight.state_dict().items()}
    resumed = build(TWO, LABELS)
    resumed.load_state_dict(state)
    # The loop restores the batches of the open epoch, and asks for their miners only.
    for step in range(len(batches)):
        expected = type(straight.miner_at(3, step))
        assert type(resumed.miner_at(3, step)) is expected
    assert {type(resumed.miner_at(3, step)).__name__ for step in range(len(batches))} == {
        "LaidOutTriplets", "PacedHard",
    }  # fmt: skip


@pytest.mark.exhaustive
def test_resuming_anywhere_ends_in_the_same_bytes(make_setup, tmp_path):
    stages = '0=random-triplets:triplets=4,1="global-hard:classes=3,per_class=3"'

    def made():
        setup = make_setup(sampler="schedule:blend=2," + stages)
        return replace(setup, miner_at=setup.sampler.miner_at)

    middles, epochs = same_from_everywhere(made, tmp_path)
    assert (middles >= 12, epochs) == (True, 2)


class Kept:
    """A sampler and a miner in one, each with a number that it saves, of batches by epoch."""

    kind = Triplets

    def __init__(self):
        self.miner, self.value = self, 0

    def epoch(self, rng, number):
        yield torch.tensor([number])

    def state_dict(self):
        return {"value": torch.tensor(self.value)}

    def load_state_dict(self, state):
        self.value = int(state["value"])


def kept(values):
    """A schedule of two stages, of which samplers and miners have these numbers to save."""
    stages = {"a": Kept(), "b": Kept()}
    for stage in stages.values():
        stage.miner = Kept()
    parts = [part for stage in stages.values() for part in (stage, stage.miner)]
    for part, value in zip(parts, values, strict=True):
        part.value = value
    return Schedule(LABELS, stages.__getitem__, **{"0": "a", "10": "b"}), parts


def test_what_stages_and_their_miners_keep_is_saved_and_loaded():
    saved, _ = kept([1, 2, 3, 4])
    loaded, parts = kept([0, 0, 0, 0])
    loaded.load_state_dict(saved.state_dict())
    assert [part.value for part in parts] == [1, 2, 3, 4]
    assert set(saved.state_dict()) == {
        "blended", "owners", "0.sampler.value", "0.miner.value", "10.sampler.value",
        "10.miner.value",
    }  # fmt: skip


def test_a_stage_that_asks_is_told_the_number_of_the_epoch():
    sampler, _ = kept([0] * 4)
    for number in (0, 7, 10, 12):
        assert [batch.tolist() for batch in epoch(sampler, 0, number)] == [[number]]


def test_a_blended_stage_of_few_batches_gives_all_it_has_and_no_more():
    # 3 batches of 40 triplets beside 30 of 4 images: 3 are fewer than a half or a quarter.
    sampler = build(
        'schedule:blend=3,0="random-triplets:triplets=40",1="hard-triplet:classes=2,per_class=2"',
        LABELS,
    )
    for number in (2, 3):
        assert Counter(map(len, epoch(sampler, 0, number))) == {120: 3, 4: 30}


class Counting(GlobalHard):
    """Says how often it was refreshed."""

    refreshed = 0

    def refresh(self, embeddings):
        self.refreshed += 1
        super().refresh(embeddings)


def test_embeddings_reach_the_stages_of_the_coming_epoch_and_no_other():
    made = {"a": Counting(LABELS), "b": Counting(LABELS)}
    sampler = Schedule(LABELS, made.__getitem__, blend=1, **{"0": "a", "2": "b"})
    refreshed = []
    for number in range(5):
        if number:
            sampler.refresh(torch.randn(len(LABELS), 3))
        epoch(sampler, 0, number)
        refreshed.append((made["a"].refreshed, made["b"].refreshed))
    assert refreshed == [(0, 0), (1, 0), (2, 1), (2, 2), (2, 3)]


def test_it_wants_no_embeddings_where_no_stage_does():
    assert not hasattr(build("schedule:0=random-triplets,5=hard-triplet", LABELS), "refresh")
    assert hasattr(build("schedule:0=random-triplets,5=global-hard", LABELS), "refresh")


def test_it_suggests_the_loss_of_the_last_stage_and_says_the_notes_of_all():
    labels = labels_of([1, 3, 30, 30])
    sampler = build('schedule:0=random-triplets,4="hard-triplet:per_class=5"', labels)
    assert sampler.default_loss == build("hard-triplet", labels).default_loss
    each = [build(text, labels).notes for text in ("random-triplets", "hard-triplet:per_class=5")]
    # A sentence of both is said once.
    assert sampler.notes == tuple(dict.fromkeys([*each[0], *each[1]]))
    assert len(sampler.notes) >= 2
    again = build("schedule:0=hard-triplet,4=hard-triplet", labels)
    assert again.notes == build("hard-triplet", labels).notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schedule", "needs a stage that begins at epoch 0, as in schedule:0="),
        ("schedule:5=hard-triplet", "needs a stage that begins at epoch 0"),
        ("schedule:0=hard-triplet,x=balanced", "can't begin a stage at 'x': beside blend"),
        ("schedule:0=hard-triplet,05=hard-triplet", "can't begin a stage at '05'"),
        ("schedule:0=hard-triplet,blend=-1", "needs blend >= 0"),
        ("schedule:blend=4,0=hard-triplet,2=hard-triplet,3=hard-triplet",
         "can't blend for 4 epochs into the stage of epoch 2, which ends at 3; set blend=1 or "
         "less, or begin the next stage at 6 or later"),
        ("schedule:0=hard-triplet,3=random-pairs",
         "from 'hard-triplet' to 'random-pairs': one compares triplets, the other pairs"),
        ("schedule:0=random-pairs,3=balanced", "compares pairs, the other whole batches"),
        ("schedule:0=hard-triplet,3=schedule:0=hard-triplet", "write its stages into this one"),
        ("schedule:0=hard-triplett", "did you mean 'hard-triplet'"),
    ],
)  # fmt: skip
def test_what_can_not_be_combined_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        build(text, LABELS)


def test_a_stage_with_a_memory_is_refused():
    class Remembering(GlobalHard):
        def remember(self, embeddings, labels, images):
            return embeddings[:0], labels[:0]

    with pytest.raises(UsageError, match="can't have the stage 'x', which has a memory of its own"):
        Schedule(LABELS, lambda spec: Remembering(LABELS), **{"0": "x"})


def test_the_defaults_of_every_stage_are_written_out():
    spec = Spec.parse('schedule:0=random-triplets,15="hard-triplet:classes=8,per_class=2"')
    full = Registry.installed().complete("sampler", spec)
    assert full.options == {
        "blend": "0",
        "0": "random-triplets:triplets=42",
        "15": "hard-triplet:classes=8,per_class=2,cap=none,paced=true",
    }


def test_a_run_changes_its_sampler_and_records_every_stage(tmp_path: Path):
    sampler = "schedule:0=random-triplets,1=hard-triplet:classes=2,blend=1"
    short = {"dataset": "digits", "epochs": 3, "orientations": 1, "progress": False,
             "backbone": "conv4:channels=4", "test": False}  # fmt: skip
    run = train(sampler=sampler, out=tmp_path / "run", **short)
    written = tomllib.loads((run.path / "config.toml").read_text())
    recorded = Spec.parse(written["sampler"]).options
    assert recorded["0"] == "random-triplets:triplets=42"
    assert recorded["1"] == "hard-triplet:classes=2,per_class=2,cap=none,paced=true"


def test_the_kit_finds_nothing():
    check_sampler("schedule:0=random-triplets,1=global-hard,2=hard-triplet,blend=1")
    check_sampler("schedule:0=random-pairs")


def test_one_stage_is_that_sampler():
    alone, scheduled = build("balanced", LABELS), build("schedule:0=balanced", LABELS)
    assert torch.cat(epoch(alone)).equal(torch.cat(epoch(scheduled)))
    assert scheduled.miner.kind is None
    assert np.all([scheduled.miner_at(7, step) is scheduled.miner for step in range(3)])
