"""Each check of protocols finds a protocol that is broken in just that way."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from metricforge.contracts import Estimate, Result
from metricforge.errors import DataError, DivergedError
from metricforge.testing import check_protocol
from tests.kit.breaking import assert_all_are_broken, assert_ends


class Sound:
    """The share of images whose nearest other is of their class."""

    def evaluate(self, embeddings, images):
        if not bool(embeddings.isfinite().all()):
            raise DivergedError("the embeddings are not finite")
        if len(embeddings) < 2:
            raise DataError("two images or more")
        far = torch.cdist(embeddings, embeddings).fill_diagonal_(torch.inf)
        hits = images.labels[far.argmin(1)] == images.labels
        return self.told(float(hits.float().mean()), len(hits))

    def told(self, value, count):
        half = 1 / math.sqrt(count)
        estimate = Estimate(value, max(0, value - half), min(1, value + half), count, "queries")
        return Result({"precision@1": estimate}, (), {"precision@1": "share of hits"})


class AsksForADevice:
    def __init__(self, device):
        pass


class Silent:
    pass


class Uncertain(Sound):
    def told(self, value, count):
        estimate = Estimate(value, value + 0.1, value + 0.2, count, "queries")
        return Result({"precision@1": estimate}, (), {"precision@1": "share of hits"})


class Empty(Sound):
    def told(self, value, count):
        return Result({})


class Undefined(Sound):
    def told(self, value, count):
        return Result(super().told(value, count).estimates)


class Drawing(Sound):
    def told(self, value, count):
        state = random.getstate()
        value = random.random()
        random.setstate(state)
        return super().told(value, count)


class Counting(Sound):
    calls = 0

    def told(self, value, count):
        self.calls += 1
        return super().told(value, count + self.calls)


class Seeds(Sound):
    def told(self, value, count):
        np.random.seed(0)
        return super().told(value, count)


class Normalises(Sound):
    def evaluate(self, embeddings, images):
        result = super().evaluate(embeddings, images)
        embeddings.div_(embeddings.norm(dim=1, keepdim=True))
        return result


class Constant(Sound):
    def told(self, value, count):
        return super().told(0.5, count)


class DividesByLength(Sound):
    def told(self, value, count):
        return super().told(value, count)

    def evaluate(self, embeddings, images):
        result = super().evaluate(embeddings, images)
        if bool((embeddings.norm(dim=1) == 0).any()):
            return self.told(math.nan, len(embeddings))
        return result


class NeedsTwo(Sound):
    def evaluate(self, embeddings, images):
        if len(embeddings) < 2:
            raise IndexError("no other")
        return super().evaluate(embeddings, images)


class NeedsGroups(Sound):
    def evaluate(self, embeddings, images):
        images.groups.max() if len(images.groups) else None
        return super().evaluate(embeddings, images)


class ChangesValidation(Sound):
    def evaluate(self, embeddings, images, validation=None):
        if validation is not None:
            validation.embeddings.zero_()
        return super().evaluate(embeddings, images)


class CountsQueriesAsRows(Sound):
    def evaluate(self, embeddings, images):
        if images.queries is not None:
            raise IndexError("rows of the gallery")
        return super().evaluate(embeddings, images)


BROKEN = {
    "builds": [AsksForADevice, Silent],
    "estimates-are-numbers-with-intervals": [Uncertain, Empty],
    "estimates-are-defined": [Undefined],
    "same-input-same-result": [Drawing, Counting],
    "global-generators-stay": [Seeds],
    "input-stays": [Normalises],
    "tells-classes-from-noise": [Constant],
    "collapsed-embeddings-stay-finite": [DividesByLength],
    "small-sets-are-measured-or-refused": [NeedsTwo],
    "groups-are-optional": [NeedsGroups],
    "validation-is-optional": [ChangesValidation],
    "queries-and-gallery-are-measured": [CountsQueriesAsRows],
}
ONLY_NOTED = {"tells-classes-from-noise"}
CASES = [(name, each) for name, broken in BROKEN.items() for each in broken]


@pytest.mark.parametrize(("name", "component"), CASES)
def test_a_broken_protocol_fails_just_that_check(name, component):
    assert_ends("protocol", name, component, "noted" if name in ONLY_NOTED else "failed")


def test_every_check_has_its_broken_protocol():
    assert_all_are_broken("protocol", BROKEN)


def test_a_sound_protocol_passes():
    assert check_protocol(Sound).passed
