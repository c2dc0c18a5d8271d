"""Each check of losses finds a loss that is broken in just that way."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from metricforge.contracts import AllPairs, Counted, Pairs
from metricforge.testing import check_loss
from tests.kit.breaking import assert_all_are_broken, assert_ends


class Sound:
    """The mean squared distance of pairs of a class, less that of others."""

    accepts = (Pairs,)

    def __call__(self, embeddings, labels, tuples):
        pairs = tuples.listed(labels)
        if len(pairs.anchor) == 0:
            return embeddings.sum() * 0.0
        return self.of(embeddings[pairs.anchor], embeddings[pairs.other], pairs.same)

    def of(self, first, second, same):
        squared = (first - second).square().sum(1)
        return torch.where(same, squared, 1 / (1 + squared)).mean()


class Miscounts(Sound):
    def counted(self, embeddings, labels, tuples):
        return Counted(self(embeddings, labels, tuples) + 1, 0)


class Overcounts(Sound):
    def counted(self, embeddings, labels, tuples):
        return Counted(self(embeddings, labels, tuples), 10**6)


class CountsInWords(Sound):
    def counted(self, embeddings, labels, tuples):
        return self(embeddings, labels, tuples), "3"


class Proxies(nn.Module):
    """Learns a row for each class; sound."""

    accepts = (None,)

    def __init__(self, dim, num_classes):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(num_classes, dim))

    def forward(self, embeddings, labels, tuples):
        return (embeddings - self.rows[labels]).square().mean()


class NeedsClasses(Sound):
    def __init__(self, *, classes: int):
        pass


class AcceptsWords(Sound):
    accepts = ("pairs",)


class MarginOfWords(Sound):
    margin = "0.2"


class Detached(Sound):
    def of(self, first, second, same):
        return super().of(first, second, same).detach()


class Vector(Sound):
    def of(self, first, second, same):
        return (first - second).square().sum(1)


class IgnoresEmbeddings(Proxies):
    def forward(self, embeddings, labels, tuples):
        return self.rows[labels].square().mean() + 0 * embeddings.detach().mean()


class IdleProxies(Proxies):
    def forward(self, embeddings, labels, tuples):
        return (embeddings - 1).square().mean()


class HalfDetached(Sound):
    def of(self, first, second, same):
        squared = (first - second).square().sum(1)
        return (squared * squared.detach()).mean()


class KeepsTheGraph(Sound):
    """A running mean that is never cut off from its past."""

    before = 0.0

    def of(self, first, second, same):
        value = 0.5 * self.before + super().of(first, second, same)
        self.before = value
        return value

    def state_dict(self):
        return {"before": torch.as_tensor(self.before).detach()}

    def load_state_dict(self, state):
        self.before = state["before"]


class MeanOfNone(Sound):
    def __call__(self, embeddings, labels, tuples):
        pairs = tuples.listed(labels)
        return self.of(embeddings[pairs.anchor], embeddings[pairs.other], pairs.same)


class OtherClosedForm(Sound):
    def __call__(self, embeddings, labels, tuples):
        value = super().__call__(embeddings, labels, tuples)
        return value * 2 if isinstance(tuples, AllPairs) else value


class BareRoot(Sound):
    def of(self, first, second, same):
        return (first - second).square().sum(1).sqrt().mean()


class Cosine(Sound):
    """Divides by a length that may be zero."""

    def of(self, first, second, same):
        return (first * second / first.square().sum(1, keepdim=True)).mean()


class HidesNaN(Sound):
    def of(self, first, second, same):
        return super().of(first.nan_to_num(), second.nan_to_num(), same)


class RaisesOnNaN(Sound):
    def of(self, first, second, same):
        if bool(first.isnan().any()):
            raise ValueError("NaN")
        return super().of(first, second, same)


class OnlySingle(Sound):
    def of(self, first, second, same):
        return super().of(first @ torch.eye(8, dtype=first.dtype).to(_half(first)), second, same)


def _half(rows):
    return torch.float32 if rows.dtype == torch.bfloat16 else rows.dtype


class ScalesInPlace(Sound):
    def __call__(self, embeddings, labels, tuples):
        value = super().__call__(embeddings, labels, tuples)
        labels.add_(1)
        return value


class ReadsNumpy(Sound):
    def of(self, first, second, same):
        state = np.random.get_state()
        factor = np.random.rand()
        np.random.set_state(state)
        return super().of(first, second, same) * (1 + factor)


class DrawsPython(Sound):
    def of(self, first, second, same):
        random.random()
        return super().of(first, second, same)


class ForgetsBuffer(Proxies):
    """Its scale is drawn with the weights and is not in its state."""

    def __init__(self, dim, num_classes):
        super().__init__(dim, num_classes)
        self.scale = 1 + torch.rand(1).item()

    def forward(self, embeddings, labels, tuples):
        return super().forward(embeddings, labels, tuples) * self.scale


BROKEN = {
    "builds": [NeedsClasses],
    "says-what-it-accepts": [AcceptsWords, MarginOfWords],
    "gives-a-scalar-with-a-graph": [Detached, Vector],
    "counted-gives-the-value": [Miscounts, Overcounts, CountsInWords],
    "gradient-reaches-what-learns": [IgnoresEmbeddings, IdleProxies],
    "gradient-is-the-derivative": [HalfDetached],
    "steps-follow-each-other": [KeepsTheGraph],
    "no-tuples-give-zero": [MeanOfNone],
    "described-tuples-count-like-listed": [OtherClosedForm],
    "unusual-batches-stay-finite": [BareRoot, Cosine],
    "not-a-number-shows": [HidesNaN, RaisesOnNaN],
    "takes-every-precision": [OnlySingle],
    "input-stays": [ScalesInPlace],
    "same-input-same-value": [ReadsNumpy],
    "global-generators-stay": [DrawsPython],
    "saves-and-loads": [ForgetsBuffer],
}
CASES = [(name, each) for name, broken in BROKEN.items() for each in broken]


@pytest.mark.parametrize(("name", "component"), CASES)
def test_a_broken_loss_fails_just_that_check(name, component):
    assert_ends("loss", name, component, "failed")


def test_every_check_has_its_broken_loss():
    assert_all_are_broken("loss", BROKEN)


@pytest.mark.parametrize("component", [Sound, Proxies])
def test_a_sound_loss_passes(component):
    assert check_loss(component).passed
