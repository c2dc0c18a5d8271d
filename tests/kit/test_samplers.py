"""Each check of samplers finds a sampler that is broken in just that way."""

from __future__ import annotations

import itertools
import random
import re

import numpy as np
import pytest
import torch

from metricforge.contracts import Pairs
from metricforge.testing import check_sampler
from tests.kit.breaking import assert_all_are_broken, assert_ends


class Whole:
    kind = None

    def __call__(self, embeddings, labels):
        return None


class AllPairs:
    """Every pair of two places, said to be of one class where it is."""

    kind = Pairs

    def __call__(self, embeddings, labels):
        anchor, other = torch.triu_indices(len(labels), len(labels), 1)
        return Pairs(anchor, other, labels[anchor] == labels[other])


class Sound:
    """Random batches of sixteen."""

    miner = Whole()

    def __init__(self, labels):
        self.labels = labels

    def epoch(self, rng):
        yield from torch.from_numpy(rng.permutation(len(self.labels))).split(16)


class AsksForMuch(Sound):
    def __init__(self, labels, size):
        super().__init__(labels)


class NeedsFourClasses(Sound):
    def __init__(self, labels):
        super().__init__(labels)
        assert labels.max() > 3


class MinerOfNoKind(Sound):
    miner = object()


class NotesAsText(Sound):
    notes = "one sentence"


class Floats(Sound):
    def epoch(self, rng):
        return (batch.float() for batch in super().epoch(rng))


class Endless(Sound):
    def epoch(self, rng):
        while True:
            yield torch.arange(len(self.labels))


class DropsTheLast(Sound):
    def epoch(self, rng):
        batches = list(super().epoch(rng))
        return iter(batches[:-1] or batches)


class GlobalShuffle(Sound):
    def epoch(self, rng):
        # Put back, so that it is only read.
        state = torch.get_rng_state()
        yield from torch.randperm(len(self.labels)).split(16)
        torch.set_rng_state(state)


class SameOrder(Sound):
    def epoch(self, rng):
        yield from torch.arange(len(self.labels)).split(16)


class Seeds(Sound):
    def __init__(self, labels):
        super().__init__(labels)
        np.random.seed(0)


class DrawsPython(Sound):
    def epoch(self, rng):
        random.random()
        return super().epoch(rng)


class Sorts(Sound):
    def __init__(self, labels):
        super().__init__(labels)
        labels.copy_(labels.sort(descending=True).values)


class CountsEpochs(Sound):
    """Each epoch is turned further; the count is lost when the run stops."""

    turns = 0

    def epoch(self, rng):
        order = torch.from_numpy(rng.permutation(len(self.labels))).roll(self.turns)
        self.turns += 1
        yield from order.split(16)


class CountsAndSaves(CountsEpochs):
    def state_dict(self):
        return {"turns": torch.tensor(self.turns)}

    def load_state_dict(self, state):
        self.turns = int(state["turns"])


class AllSame(AllPairs):
    def __call__(self, embeddings, labels):
        anchor, other, same = super().__call__(embeddings, labels)
        return Pairs(anchor, other, torch.ones_like(same))


class LyingMiner(Sound):
    miner = AllSame()


class Twice(Sound):
    """The first image of each batch is in it again."""

    miner = AllPairs()

    def epoch(self, rng):
        return (torch.cat([b, b[:1]]) for b in super().epoch(rng))


class WholeTwice(Twice):
    miner = Whole()


class LosesWhenRefreshed(Sound):
    left = 0

    def refresh(self, embeddings):
        self.left = 1

    def epoch(self, rng):
        yield from torch.from_numpy(rng.permutation(len(self.labels)))[self.left :].split(16)


class NormalisesInRefresh(Sound):
    def refresh(self, embeddings):
        embeddings.mul_(2)


class Remembers(Sound):
    """A queue of the last thirty-two rows, as a sound sampler keeps it."""

    def __init__(self, labels):
        super().__init__(labels)
        self.rows, self.row_labels = torch.zeros(0, 16), torch.zeros(0, dtype=torch.int64)

    def remember(self, embeddings, labels, images):
        before = self.rows.to(embeddings.dtype), self.row_labels
        self.rows = torch.cat([self.rows, embeddings.float()])[-32:]
        self.row_labels = torch.cat([self.row_labels, labels])[-32:]
        return before

    def state_dict(self):
        return {"rows": self.rows, "labels": self.row_labels}

    def load_state_dict(self, state):
        self.rows, self.row_labels = state["rows"], state["labels"]


class RemembersFloats(Remembers):
    def remember(self, embeddings, labels, images):
        rows, labels = super().remember(embeddings, labels, images)
        return rows.float(), labels


class ForgetsLabels(Remembers):
    def remember(self, embeddings, labels, images):
        rows, labels = super().remember(embeddings, labels, images)
        return rows, labels.flip(0)


class HandsOutUnfilled(Remembers):
    def remember(self, embeddings, labels, images):
        rows, labels = super().remember(embeddings, labels, images)
        return torch.cat([rows, rows.new_zeros(1, 16)]), torch.cat([labels, torch.tensor([-1])])


class RemembersItself(Remembers):
    def remember(self, embeddings, labels, images):
        super().remember(embeddings, labels, images)
        return self.rows.to(embeddings.dtype), self.row_labels


class RemembersAtRandom(Remembers):
    def remember(self, embeddings, labels, images):
        rows, labels = super().remember(embeddings, labels, images)
        state = torch.get_rng_state()
        order = torch.randperm(len(rows))
        torch.set_rng_state(state)
        return rows[order], labels[order]


class ForgetsWhenStopped(Remembers):
    state_dict = load_state_dict = property()


class Evens:
    """Of all pairs those whose places have an even sum."""

    kind = Pairs

    def __call__(self, embeddings, labels):
        found = AllPairs()(embeddings, labels)
        even = (found.anchor + found.other) % 2 == 0
        return Pairs(*(part[even] for part in found))


class TakesTurns(Sound):
    """Each step has one of two miners, drawn with the epoch's batches, and this is saved."""

    miner, other = AllPairs(), Evens()

    def __init__(self, labels):
        super().__init__(labels)
        self.turns = torch.zeros(0, dtype=torch.int64)

    def epoch(self, rng, number):
        self.turns = torch.from_numpy(rng.integers(0, 2, len(self.labels)))
        return super().epoch(rng)

    def miner_at(self, epoch, step):
        return self.other if len(self.turns) and self.turns[step] else self.miner

    def state_dict(self):
        return {"turns": self.turns}

    def load_state_dict(self, state):
        self.turns = state["turns"]


class ForgetsTurns(TakesTurns):
    def load_state_dict(self, state):
        pass


class LiesLater(Sound):
    """Its miner is true in the first epoch only."""

    miner = AllPairs()

    def epoch(self, rng, number):
        return super().epoch(rng)

    def miner_at(self, epoch, step):
        return AllSame() if epoch else self.miner


class NamesNoLoss(Sound):
    default_loss = "no-such-loss"


class NamesATripletLoss(Sound):
    default_loss = "triplet"


BROKEN = {
    "builds": [AsksForMuch, NeedsFourClasses, 3],
    "has-epoch-miner-and-notes": [MinerOfNoKind, NotesAsText],
    "batches-are-indices": [Floats, Endless],
    "every-image-is-shown": [DropsTheLast],
    "same-rng-same-batches": [GlobalShuffle],
    "another-rng-another-order": [SameOrder],
    "global-generators-stay": [Seeds, DrawsPython],
    "labels-stay": [Sorts],
    "resumes-exactly": [CountsEpochs],
    "miners-resume": [ForgetsTurns],
    "its-miner-gives-true-tuples": [LyingMiner, LiesLater],
    "never-pairs-an-image-with-itself": [Twice, WholeTwice],
    "refresh-keeps-epochs-whole": [LosesWhenRefreshed, NormalisesInRefresh],
    "remembers-as-agreed": [RemembersFloats],
    "remembers-true-labels": [ForgetsLabels, HandsOutUnfilled],
    "remembers-no-row-of-the-batch": [RemembersItself],
    "remembering-changes-nothing": [RemembersAtRandom],
    "memory-resumes": [ForgetsWhenStopped],
    "default-loss-fits": [NamesNoLoss, NamesATripletLoss],
}
ONLY_NOTED = {"another-rng-another-order"}
CASES = [(name, each) for name, broken in BROKEN.items() for each in broken]


@pytest.mark.parametrize(("name", "component"), CASES)
def test_a_broken_sampler_fails_just_that_check(name, component):
    assert_ends("sampler", name, component, "noted" if name in ONLY_NOTED else "failed")


def test_every_check_has_its_broken_sampler():
    assert_all_are_broken("sampler", BROKEN)


def test_what_is_measured_does_not_depend_on_the_clock(monkeypatch):
    """As on a machine so busy that each look at the clock comes an hour after the one before."""
    hours = itertools.count(0, 3600.0)
    monkeypatch.setattr("metricforge.testing.growth.time.perf_counter", lambda: next(hours))
    (note,) = (found for found in check_sampler(Sound).notes if found.check == "growth")
    assert re.search(r"memory grows as N\^.* at 2,000, .* at 20,000", note.says)


@pytest.mark.parametrize("component", [Sound, CountsAndSaves, Remembers, TakesTurns])
def test_a_sound_sampler_passes(component):
    report = check_sampler(component)
    assert report.passed
    assert "memory grows as N^" in report.notes[-1].says
