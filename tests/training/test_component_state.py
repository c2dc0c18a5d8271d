"""What samplers, miners and losses carry from step to step comes back with a checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_xbm import XBM
from torch import nn

from metricforge.atomic_files import read_folder
from metricforge.contracts import Triplets
from metricforge.errors import ArtefactError, PluginError
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.training.checkpoint import Checkpoints, restore
from metricforge.training.loop import TrainState
from tests.training.test_checkpoint import CPU, rewritten, run, same_from_everywhere, weights

LABELS = (torch.arange(60) % 6)[5:53]


class Counting:
    """A miner that takes its triplets from a place that moves on with each call."""

    kind = Triplets

    def __init__(self):
        self.calls = torch.zeros((), dtype=torch.int64)

    def __call__(self, embeddings, labels):
        self.calls = self.calls + 1
        found = BatchHard()(embeddings, labels)
        keep = torch.arange(len(found.anchor)) % 3 == int(self.calls) % 3
        return Triplets(*(part[keep] for part in found))

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


class Drifting:
    """A loss whose margin follows the losses it gave; no module, yet with a state."""

    def __init__(self):
        self.margin_now = torch.tensor(0.5)

    def __call__(self, embeddings, labels, tuples):
        anchor, positive, negative = (embeddings[part] for part in tuples)
        gaps = (anchor - positive).norm(dim=1) - (anchor - negative).norm(dim=1)
        value = (gaps + self.margin_now).relu().square().sum()
        self.margin_now = 0.9 * self.margin_now + 0.01 * value.detach()
        return value + 0 * embeddings.sum()

    def state_dict(self):
        return {"margin": self.margin_now}

    def load_state_dict(self, state):
        self.margin_now = state["margin"]


class Remembering:
    """A sampler whose memory of the last batch is compared with the next."""

    def __init__(self, labels, state=None):
        self.labels, self.miner, self.last, self.state = labels, BatchHard(), None, state

    def epoch(self, rng):
        yield from torch.from_numpy(rng.permutation(len(self.labels))).split(12)

    def remember(self, embeddings, labels, images):
        before = self.last or (embeddings[:0], labels[:0])
        self.last = embeddings.clone(), labels.clone()
        return before

    def state_dict(self):
        if self.state is not None:
            return self.state
        return dict(zip(("rows", "labels"), self.last, strict=True)) if self.last else {}

    def load_state_dict(self, state):
        self.last = (state["rows"], state["labels"]) if state else None


def xbm(labels, **options):
    def build(spec):
        return Registry.installed().build("sampler", Spec.parse(spec), {"labels": labels})

    return XBM(labels, build, sampler="hard-triplet:classes=3,per_class=3", **options)


PARTS = {
    "sampler": lambda: {"sampler": Remembering(LABELS)},
    "xbm": lambda: {"sampler": xbm(LABELS, size=20, warmup=1)},
    "xbm by its own warm-up": lambda: {"sampler": xbm(LABELS, size=100)},
    "miner": lambda: {"miner": Counting()},
    "loss": lambda: {"loss": Drifting()},
    "all": lambda: {"sampler": Remembering(LABELS), "miner": Counting(), "loss": Drifting()},
}


def made(make_setup, parts):
    parts = parts()
    miner = parts.pop("miner", None)
    setup = make_setup(**parts)
    return replace(setup, miner=miner) if miner else setup


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(parts, id=name, marks=() if name in ("xbm", "all") else pytest.mark.exhaustive)
        for name, parts in PARTS.items()
    ],
)
def test_resuming_anywhere_ends_in_the_same_bytes(make_setup, tmp_path, parts):
    middles, epochs = same_from_everywhere(lambda: made(make_setup, parts), tmp_path)
    assert middles >= 6
    assert epochs == 2


@pytest.mark.parametrize("parts", [PARTS["sampler"], PARTS["miner"], PARTS["loss"], PARTS["xbm"]])
def test_without_its_state_it_would_end_in_others(make_setup, tmp_path, parts):
    """Otherwise the test above could compare what no state can change."""
    setup, saved = made(make_setup, parts), []

    def save(record, state):
        if state.total_steps == 2 and not saved:
            saved.append(Checkpoints(tmp_path).save(setup, state))

    run(setup, at_each=save)
    again = made(make_setup, parts)
    state = restore(saved[0], again)
    part = next(iter(parts()))
    forgetful = replace(again, **{part: getattr(made(make_setup, parts), part)})
    if part == "sampler":
        forgetful = replace(forgetful, miner=forgetful.sampler.miner)
    run(forgetful, state)
    assert weights(forgetful) != weights(setup)


def test_each_component_has_a_file_of_its_own(make_setup, tmp_path):
    setup = made(make_setup, PARTS["all"])
    state = run(setup)
    files = read_folder(Checkpoints(tmp_path).save(setup, state))
    assert {"sampler.safetensors", "miner.safetensors", "loss.safetensors"} <= set(files)
    assert json.loads(files["state.json"])["format"] == 2


def test_the_state_of_a_miner_that_the_sampler_brought_is_saved(make_setup, tmp_path):
    sampler = Remembering(LABELS)
    sampler.miner = Counting()
    setup = make_setup(sampler=sampler)
    assert setup.miner is sampler.miner
    files = read_folder(Checkpoints(tmp_path).save(setup, run(setup)))
    assert "miner.safetensors" in files
    assert "sampler.safetensors" in files


def test_one_memory_under_two_names_is_saved_as_two(make_setup, tmp_path):
    shared = torch.arange(5.0)
    state = {"rows": shared, "labels": shared, "part": shared[1:3], "turned": torch.ones(2, 3).T}
    setup = make_setup(sampler=Remembering(LABELS, state))
    folder = Checkpoints(tmp_path).save(setup, TrainState())
    again = make_setup(sampler=Remembering(LABELS))
    restore(folder, again)
    assert again.sampler.last[0].equal(shared)
    assert again.sampler.last[1].equal(shared)


def test_what_is_saved_is_what_it_was_then(make_setup, tmp_path):
    state = {"rows": torch.zeros(2), "labels": torch.zeros(2)}
    setup = make_setup(sampler=Remembering(LABELS, state))
    folder = Checkpoints(tmp_path).save(setup, TrainState())
    state["rows"] += 1
    again = make_setup(sampler=Remembering(LABELS))
    restore(folder, again)
    assert again.sampler.last[0].equal(torch.zeros(2))


class NoMapping(Remembering):
    def state_dict(self):
        return 3


class Raises(Remembering):
    def state_dict(self):
        raise KeyError("lost")

    def load_state_dict(self, state):
        raise KeyError("lost")


NO_STATE = {
    "a number": (Remembering(LABELS, {"step": 3}), "'step': int"),
    "a list": (Remembering(LABELS, {"rows": [torch.ones(2)]}), "'rows': list"),
    "nested": (Remembering(LABELS, {"inner": {"rows": torch.ones(2)}}), "'inner': dict"),
    "no name": (Remembering(LABELS, {3: torch.ones(2)}), "3: a torch.float32 tensor"),
    "sparse": (Remembering(LABELS, {"rows": torch.eye(3).to_sparse()}), "failed: "),
    "no mapping": (NoMapping(LABELS), "must give a state_dict of tensors by name; it gave int"),
    "raises": (Raises(LABELS), "failed: KeyError: 'lost'"),
}


@pytest.mark.parametrize(("sampler", "told"), NO_STATE.values(), ids=NO_STATE)
def test_a_state_that_can_not_be_kept_is_the_components_fault(make_setup, tmp_path, sampler, told):
    setup = make_setup(sampler=sampler)
    with pytest.raises(PluginError) as caught:
        Checkpoints(tmp_path).save(setup, TrainState())
    assert type(sampler).__name__ in str(caught.value)
    assert told in str(caught.value)
    assert Checkpoints(tmp_path).all() == []


@pytest.fixture
def saved(make_setup, tmp_path):
    setup = make_setup(sampler=Remembering(LABELS))
    return Checkpoints(tmp_path).save(setup, run(setup))


@pytest.mark.parametrize("content", [None, b"no safetensors", b""], ids=["gone", "other", "empty"])
def test_a_state_that_is_damaged_is_refused_and_named(make_setup, saved, content):
    rewritten(saved, sampler__safetensors=content)
    with pytest.raises(ArtefactError, match=r"step-.* has no state for .*:Remembering"):
        restore(saved, make_setup(sampler=Remembering(LABELS)))


def test_a_flipped_bit_in_a_state_is_refused(make_setup, saved):
    path = saved / "sampler.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"sampler\.safetensors"):
        restore(saved, make_setup(sampler=Remembering(LABELS)))


def test_a_component_that_can_not_take_its_state_back_is_at_fault(make_setup, saved):
    with pytest.raises(PluginError, match="Raises failed: KeyError: 'lost'"):
        restore(saved, make_setup(sampler=Raises(LABELS)))


def test_a_sampler_without_a_state_takes_a_checkpoint_with_one(make_setup, saved):
    setup = make_setup()
    assert restore(saved, setup) == run(make_setup(sampler=Remembering(LABELS)))


def test_a_module_as_a_miner_is_restored_by_its_weights(make_setup, tmp_path):
    class Learned(nn.Module):
        kind = Triplets

        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, embeddings, labels):
            self.calls += 1
            return BatchHard()(embeddings, labels)

    setup = replace(make_setup(epochs=1), miner=Learned())
    folder = Checkpoints(tmp_path).save(setup, run(setup, runtime=CPU))
    again = replace(make_setup(epochs=1), miner=Learned())
    restore(folder, again)
    assert again.miner.calls == setup.miner.calls > 0
