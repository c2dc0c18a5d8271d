"""Each check of miners finds a miner that is broken in just that way."""

from __future__ import annotations

import pytest
import torch

from metricforge.contracts import Pairs, Triplets
from metricforge.testing import check, check_miner
from tests.kit.breaking import assert_all_are_broken, assert_ends


class Sound:
    """Every pair."""

    kind = Pairs

    def places(self, embeddings, labels):
        return torch.triu_indices(len(labels), len(labels), 1)

    def __call__(self, embeddings, labels):
        anchor, other = self.places(embeddings, labels)
        return Pairs(anchor, other, labels[anchor] == labels[other])


class NeedsLabels(Sound):
    def __init__(self, labels):
        pass


class Untyped(Sound):
    def __init__(self, *, size=[]):  # noqa: B006 - a spec can't write it
        pass


class OfNoKind(Sound):
    kind = "pairs"


class Ints(Sound):
    def __call__(self, embeddings, labels):
        anchor, other, same = super().__call__(embeddings, labels)
        return Pairs(anchor.int(), other, same)


class AlwaysSame(Sound):
    def __call__(self, embeddings, labels):
        anchor, other, same = super().__call__(embeddings, labels)
        return Pairs(anchor, other, torch.ones_like(same) if len(labels) > 2 else same)


class WrongNegatives:
    kind = Triplets

    def __call__(self, embeddings, labels):
        same = labels[:, None] == labels
        positive = same & ~torch.eye(len(labels), dtype=torch.bool)
        anchor, positive = positive.nonzero().unbind(1)
        return Triplets(anchor, positive, (anchor + 1) % len(labels))


class NeedsImages(Sound):
    def __call__(self, embeddings, labels):
        embeddings.max(0)
        return super().__call__(embeddings, labels)


class HatesNaN(Sound):
    def __call__(self, embeddings, labels):
        if not bool(embeddings.isfinite().all()):
            raise ValueError("NaN")
        return super().__call__(embeddings, labels)


class Doubles(Sound):
    def __call__(self, embeddings, labels):
        embeddings.mul_(2)
        return super().__call__(embeddings, labels)


class Relabels(Sound):
    def __call__(self, embeddings, labels):
        found = super().__call__(embeddings, labels.clone())
        labels.add_(1)
        return found


class ReadsTorch(Sound):
    def places(self, embeddings, labels):
        state = torch.get_rng_state()
        order = torch.randperm(len(labels))
        torch.set_rng_state(state)
        return order[0::2][: len(order) // 2], order[1::2]


class Alternates(Sound):
    def __init__(self):
        self.calls = 0

    def places(self, embeddings, labels):
        anchor, other = super().places(embeddings, labels)
        self.calls += 1
        return anchor[self.calls % 2 :], other[self.calls % 2 :]


class AlternatesAndForgets(Alternates):
    def state_dict(self):
        return {"calls": torch.tensor(0)}

    def load_state_dict(self, state):
        self.calls = 0


class AlternatesAndSaves(Alternates):
    def state_dict(self):
        return {"calls": torch.tensor(self.calls)}

    def load_state_dict(self, state):
        self.calls = int(state["calls"])


class IgnoresRng(Sound):
    def __call__(self, embeddings, labels, rng):
        return super().__call__(embeddings, labels)


class Draws(Sound):
    def __call__(self, embeddings, labels, rng):
        anchor, other, same = super().__call__(embeddings, labels)
        kept = torch.from_numpy(rng.random(len(anchor)) < 0.5)
        return Pairs(anchor[kept], other[kept], same[kept])


class DrawsTorch(Sound):
    def __call__(self, embeddings, labels):
        torch.rand(1)
        return super().__call__(embeddings, labels)


class OnlySingle(Sound):
    def __call__(self, embeddings, labels):
        embeddings @ torch.eye(embeddings.shape[1])
        return super().__call__(embeddings, labels)


class SelfPairs(Sound):
    def places(self, embeddings, labels):
        least = 0 if len(labels) > 2 else 1
        return torch.triu_indices(len(labels), len(labels), least)


class NoGpu(Sound):
    """Its places stay on the CPU; shown where there is a GPU."""


class LeavesToAll(Sound):
    def left_to(self, loss):
        return Sound()


BROKEN = {
    "builds": [NeedsLabels, Untyped],
    "says-its-kind": [OfNoKind],
    "tuples-are-of-its-kind": [Ints],
    "labels-agree": [AlwaysSame],
    "no-self-pairs": [SelfPairs],
    "takes-tiny-batches": [NeedsImages],
    "takes-not-a-number": [HatesNaN],
    "input-stays": [Doubles, Relabels],
    "same-input-same-tuples": [ReadsTorch],
    "resumes-exactly": [AlternatesAndForgets],
    "another-rng-other-tuples": [IgnoresRng],
    "mines-for-other-losses": [LeavesToAll],
    "global-generators-stay": [DrawsTorch],
    "takes-every-precision": [OnlySingle],
    "stays-on-the-device": [NoGpu],
}
ONLY_NOTED = {"another-rng-other-tuples"}
CASES = [(name, each) for name, broken in BROKEN.items() for each in broken]


@pytest.mark.parametrize(("name", "component"), CASES)
def test_a_broken_miner_fails_just_that_check(name, component):
    if name == "stays-on-the-device" and not torch.cuda.is_available():
        assert_ends("miner", name, component, "skipped")
        return
    assert_ends("miner", name, component, "noted" if name in ONLY_NOTED else "failed")


def test_every_check_has_its_broken_miner():
    assert_all_are_broken("miner", BROKEN)


def test_triplets_of_one_class_are_found():
    assert "a negative of the same class than" in str(check("miner", WrongNegatives))


def test_what_a_miner_keeps_without_saying_so_is_found():
    names = [finding.check for finding in check("miner", Alternates).failures]
    assert names == ["same-input-same-tuples", "resumes-exactly"]


@pytest.mark.parametrize("component", [Sound, Draws, AlternatesAndSaves])
def test_a_sound_miner_passes(component):
    assert check_miner(component).passed
