"""What is seen while training: tuples that are possible, chosen and active; the epochs' health."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch
from metricforge_standard.losses.triplet import Triplet
from metricforge_standard.miners.batch_hard import BatchHard

from metricforge.contracts import AllPairs, AllTriplets, Counted, Pairs, Triplets
from metricforge.errors import PluginError
from metricforge.runtime import Runtime
from metricforge.training.checkpoint import Checkpoints, restore
from metricforge.training.health import effective_rank, spread
from metricforge.training.loop import fit
from metricforge.training.records import EpochRecord, StepRecord
from metricforge.training.setup import TrainState

CPU = Runtime(torch.device("cpu"))
# 12 images, 2 of each of 6 classes.
BATCHES = [torch.arange(start, start + 12) for start in (0, 12, 24, 36)]


class Fixed:
    """Four batches, and the miner it is told; with a memory of the batch itself if asked."""

    def __init__(self, miner):
        self.miner = miner

    def epoch(self, rng):
        yield from BATCHES


class Remembering(Fixed):
    def remember(self, embeddings, labels, images):
        return embeddings[:5].clone(), labels[:5]


class Says:
    """A miner of a kind, or a loss, that gives what it is told."""

    def __init__(self, value, kind=Triplets):
        self.value, self.kind = value, kind

    def __call__(self, *given):
        return self.value(*given) if callable(self.value) else self.value


class Counts:
    """A loss that counts as active what it is told."""

    def __init__(self, count):
        self._count = count

    def __call__(self, embeddings, labels, tuples):
        return self.counted(embeddings, labels, tuples).value

    def counted(self, embeddings, labels, tuples):
        count = self._count(tuples) if callable(self._count) else self._count
        return Counted(embeddings[:, 0].sum(), count)


def sums(embeddings, labels, tuples):
    """A loss that counts nothing."""
    return embeddings[:, 0].sum()


def records(setup, state=None):
    found = list(fit(setup, state or TrainState(), CPU))
    steps = [r for r in found if isinstance(r, StepRecord)]
    return steps, [r for r in found if isinstance(r, EpochRecord)]


FOUR = torch.arange(4)
MINED = {
    "triplets": (Triplets, Triplets(FOUR, FOUR + 6, FOUR + 1), 4, 12 * 1 * 10),
    "pairs": (Pairs, Pairs(FOUR + 6, FOUR, torch.ones(4).bool()), 4, 12 * 11),
    "pairs once": (Pairs, Pairs(FOUR, FOUR + 6, torch.ones(4).bool()), 4, 12 * 11 // 2),
    "all triplets": (Triplets, AllTriplets(), 120, 120),
    "all pairs": (Pairs, AllPairs(), 132, 132),
    "pairs of some": (Pairs, AllPairs(anchors=3), 33, 132),
    "whole batch": (None, None, None, None),
}


@pytest.mark.parametrize(("kind", "tuples", "chosen", "possible"), MINED.values(), ids=MINED)
def test_a_step_tells_how_many_tuples_there_are_and_could_be(
    make_setup, kind, tuples, chosen, possible
):
    sampler = Fixed(Says(tuples, kind))
    steps, epochs = records(make_setup(sampler=sampler, loss=sums, epochs=1))
    assert {(s.tuples, s.possible, s.active) for s in steps} == {(chosen, possible, None)}
    share = chosen and chosen / possible
    assert {s.chosen_share for s in steps} == {share}
    assert epochs[0].chosen_share == (share and pytest.approx(share))
    assert epochs[0].active_share is None
    assert epochs[0].empty_batches == 0


def test_with_a_memory_only_anchors_in_the_batch_count(make_setup):
    """Five rows more: those are positives and negatives, of five of the six classes."""
    by_hand = 10 * 2 * 14 + 2 * 1 * 15
    two = Triplets(*torch.tensor([[0, 12], [6, 6], [1, 2]]))
    for tuples in (AllTriplets(), two):
        sampler = Remembering(Says(tuples))
        steps, _ = records(make_setup(sampler=sampler, loss=sums, epochs=1))
        expected = by_hand if isinstance(tuples, AllTriplets) else 1
        assert {(s.tuples, s.possible) for s in steps} == {(expected, by_hand)}
    sampler = Remembering(Says(AllPairs(), Pairs))
    steps, _ = records(make_setup(sampler=sampler, loss=sums, epochs=1))
    assert {(s.tuples, s.possible) for s in steps} == {(12 * 16, 12 * 16)}


def test_no_tuples_are_no_share_and_an_empty_batch(make_setup):
    empty = Triplets(*(FOUR[:0] for _ in range(3)))
    steps, epochs = records(make_setup(sampler=Fixed(Says(empty)), loss=Counts(0), epochs=1))
    assert {(s.tuples, s.active, s.active_share, s.chosen_share) for s in steps} == {
        (0, 0, None, 0)
    }
    assert (epochs[0].empty_batches, epochs[0].active_share) == (4, None)


def test_described_triplets_of_one_class_are_an_empty_batch_too(make_setup):
    setup = make_setup(sampler=Fixed(Says(AllTriplets())), loss=Counts(0), epochs=1)
    _, epochs = records(replace(setup, labels=torch.zeros_like(setup.labels)))
    assert epochs[0].empty_batches == 4


@pytest.mark.parametrize("active", [3, torch.tensor(3), torch.tensor(3.0), torch.tensor([3, 9])[0]])
def test_a_loss_may_say_how_many_tuples_are_active(make_setup, active):
    steps, epochs = records(make_setup(loss=Counts(active), epochs=1))
    assert {type(s.active) for s in steps} == {int}
    assert {s.active for s in steps} == {3}
    assert steps[0].active_share == 3 / steps[0].tuples
    assert epochs[0].active_share == pytest.approx(3 * len(steps) / sum(s.tuples for s in steps))


def test_what_is_active_is_counted_at_each_call(make_setup):
    loss = Counts(lambda tuples: len(tuples.anchor) % 5)
    steps, _ = records(make_setup(loss=loss, epochs=1))
    assert [s.active for s in steps] == [s.tuples % 5 for s in steps]


def test_active_triplets_of_the_standard_loss_are_those_that_violate_the_margin(make_setup):
    seen = []

    class Watched(Triplet):
        def counted(self, embeddings, labels, tuples):
            rows = embeddings.detach()
            near = (rows[tuples.anchor] - rows[tuples.positive]).norm(dim=1)
            far = (rows[tuples.anchor] - rows[tuples.negative]).norm(dim=1)
            seen.append(int((near - far + self.margin > 0).sum()))
            return super().counted(embeddings, labels, tuples)

    steps, _ = records(make_setup(loss=Watched(margin=0.05), epochs=2))
    assert [s.active for s in steps] == seen
    assert len({s.active_share for s in steps}) > 1


@pytest.mark.parametrize(
    "active", [-1, 13, True, "3", torch.tensor([3]), torch.tensor(-1), torch.tensor(torch.nan)]
)
def test_a_loss_that_says_nonsense_is_named_before_the_step(make_setup, active):
    setup = make_setup(sampler=Fixed(BatchHard()), loss=Counts(active))
    before = [p.detach().clone() for p in setup.model.parameters()]
    with pytest.raises(PluginError, match=r"test_seen:Counts must give in `active` how many"):
        records(setup)
    assert all(a.equal(b) for a, b in zip(setup.model.parameters(), before, strict=True))


def test_the_health_of_an_epoch_is_that_of_its_embeddings(make_setup):
    seen = []

    def look(embeddings, labels):
        seen.append(embeddings.clone())
        return BatchHard()(embeddings, labels)

    _, epochs = records(make_setup(sampler=Fixed(Says(look)), epochs=2))
    for epoch, part in zip(epochs, (seen[:4], seen[4:]), strict=True):
        rows = torch.cat(part)
        assert epoch.spread == pytest.approx(spread(rows))
        assert epoch.effective_rank == pytest.approx(effective_rank(rows))
        assert not epoch.collapsed
    assert epochs[0].spread != epochs[1].spread


def test_looking_at_health_leaves_the_training_as_it_is(make_setup, monkeypatch):
    def weights():
        setup = make_setup(epochs=2)
        records(setup)
        return [p.detach().clone() for p in setup.model.parameters()]

    expected = weights()
    monkeypatch.setattr("metricforge.training.records.Sample.add", lambda self, embeddings: None)
    assert all(a.equal(b) for a, b in zip(weights(), expected, strict=True))


def test_an_epoch_that_goes_on_sums_up_the_steps_before_too(make_setup, tmp_path):
    steps, epochs = records(make_setup(epochs=1))
    for done in range(len(steps) + 1):
        setup, state = make_setup(epochs=1), TrainState()
        list(islice(fit(setup, state, CPU), done))
        checkpoint = Checkpoints(tmp_path).save(setup, state)
        again = make_setup(epochs=1)
        rest, sums = records(again, restore(checkpoint, again))
        assert [r.loss for r in rest] == [s.loss for s in steps[done:]]
        # Health too: of the embeddings of the steps before and after.
        assert replace(sums[0], seconds=0) == replace(epochs[0], seconds=0), done


class Changing(Fixed):
    """Another miner for each step; each notes when it is asked."""

    def __init__(self, kinds=(Triplets,)):
        self.asked, self.kinds = [], kinds
        super().__init__(self.made(None))

    def made(self, at, kind=Triplets):
        def mine(embeddings, labels):
            self.asked.append(at)
            return BatchHard()(embeddings, labels)

        return Says(mine, kind)

    def miner_at(self, epoch, step):
        return self.made((epoch, step), self.kinds[step % len(self.kinds)])


def test_the_miner_may_change_from_step_to_step(make_setup):
    sampler = Changing()
    setup = make_setup(sampler=sampler, epochs=2)
    records(replace(setup, miner_at=sampler.miner_at))
    assert sampler.asked == [(epoch, step) for epoch in range(2) for step in range(4)]


def test_without_leave_the_first_miner_is_that_of_all_steps(make_setup):
    sampler = Changing()
    records(make_setup(sampler=sampler, epochs=1))
    assert sampler.asked == [None] * 4


@pytest.mark.parametrize("wrong", [Pairs, None, "triplets"])
def test_a_miner_of_another_kind_is_the_samplers_fault(make_setup, wrong):
    sampler = Changing((Triplets, wrong))
    setup = make_setup(sampler=sampler)
    with pytest.raises(PluginError, match=r"Changing must give by miner_at .* epoch 0, step 1"):
        records(replace(setup, miner_at=sampler.miner_at))
    assert len(sampler.asked) == 1


@pytest.mark.parametrize("wrong", [None, 3])
def test_what_is_no_miner_is_refused(make_setup, wrong):
    setup = make_setup(sampler=Changing())
    with pytest.raises(PluginError, match=r"miner|kind"):
        records(replace(setup, miner_at=lambda epoch, step: wrong))


def test_an_error_of_miner_at_is_the_samplers_fault(make_setup):
    def fails(epoch, step):
        raise KeyError("lost")

    setup = make_setup(sampler=Changing())
    with pytest.raises(PluginError, match="Changing failed: KeyError: 'lost'"):
        records(replace(setup, miner_at=fails))
