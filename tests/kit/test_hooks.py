"""Each check of hooks finds one that is broken in just that way."""

from __future__ import annotations

import pytest
import torch

from metricforge.testing import check_hook
from tests.kit.breaking import assert_all_are_broken, assert_ends


class Sound:
    """Remembers what it is told."""

    def __init__(self, folder, step, *, most: int = 5):
        self.told = []

    def on_step(self, record, embeddings):
        self.told.append((dict(record), embeddings.clone()))

    def on_epoch(self, record):
        self.told.append(dict(record))


class OfTheEndOnly:
    """Listens to the end alone."""

    def on_end(self):
        pass


class Fails(Sound):
    def __init__(self, folder, step):
        raise RuntimeError("no")


class Deaf:
    """Listens to nothing."""


class WantsANumber(Sound):
    def on_step(self, record, embeddings):
        self.told.append(record["active_share"] + 1)


class ChangesTheRecord(Sound):
    def on_epoch(self, record):
        record["seen"] = True


class ChangesTheEmbeddings(Sound):
    def on_step(self, record, embeddings):
        embeddings.mul_(2)


class Draws(Sound):
    def on_step(self, record, embeddings):
        torch.rand(1)


BROKEN = {
    "builds": Fails,
    "listens": Deaf,
    "takes-what-it-is-told": WantsANumber,
    "records-and-embeddings-stay": ChangesTheEmbeddings,
    "global-generators-stay": Draws,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_hook_is_found(name: str):
    assert_ends("hook", name, BROKEN[name], "failed")


def test_a_changed_record_is_found():
    assert_ends("hook", "records-and-embeddings-stay", ChangesTheRecord, "failed")


def test_every_check_has_its_broken_hook():
    assert_all_are_broken("hook", BROKEN)


@pytest.mark.parametrize("component", [Sound, OfTheEndOnly])
def test_a_sound_hook_passes(component: type):
    check_hook(component)
