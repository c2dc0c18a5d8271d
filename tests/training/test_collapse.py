"""A collapse is said once a run, while it happens and with what to try; health is recorded."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from metricforge.contracts import Dataset
from metricforge.errors import Interrupted
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.report.progress import Listener
from metricforge.runs.build import assemble
from metricforge.runs.collapse_advice import TRIPLET_REMEDIES, collapse
from metricforge.runs.resume import resume
from metricforge.runs.train import run_recipe
from metricforge.training.records import EpochRecord, StepRecord


class Notes(Listener):
    """What a user was told; stops the run after some steps if asked to."""

    def __init__(self, steps=None):
        self.said, self.epochs, self.left = [], [], steps

    def say(self, sentence):
        self.said.append(sentence)

    def record(self, record, epochs):
        if isinstance(record, EpochRecord):
            self.epochs.append(record)
        if isinstance(record, StepRecord) and self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Stopped

    @property
    def collapses(self):
        return [sentence for sentence in self.said if "collapse" in sentence]


class Stopped(Interrupted):
    pass


def blobs(noise: int) -> Dataset:
    """Twelve classes of 16 images, each a pattern of its own under noise; 255 drowns it."""
    rng = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 256, (12, 1, 8, 8), generator=rng)
    labels = torch.arange(192) % 12
    change = torch.randint(-noise, noise + 1, (192, 1, 8, 8), generator=rng)
    images = (patterns[labels] + change).clamp(0, 255).to(torch.uint8)
    return Dataset("blobs", images, labels, tuple("abcdefghijkl"), (1, 8, 8))


def recipe(noise: int = 10, **options: Any) -> Recipe:
    values: dict[str, Any] = {
        "dataset": blobs(noise),
        "split": "classes:train=a-f,validation=g-i,test=j-l",
        "sampler": "hard-triplet:classes=6,per_class=8",
        "backbone": "conv4:channels=8",
        "dim": 8,
        "epochs": 4,
        "device": "cpu",
        "protocols": ("retrieval",),
        "test": False,
    }
    return Recipe(**(values | options))


# Noise without classes, hard triplets, a hinge and large steps: all that leads to one point.
FALLING = {
    "noise": 255,
    "sampler": "hard-triplet:classes=6,per_class=8,paced=false",
    "loss": "triplet:margin=0.5",
    "optimizer": "sgd:lr=1.0,momentum=0.9",
    "epochs": 30,
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_collapse_is_said_once_with_what_to_try(tmp_path):
    notes = Notes()
    path = run_recipe(recipe(**FALLING), out=tmp_path / "r", listener=notes).path
    fallen = [record for record in notes.epochs if record.collapsed]
    assert len(fallen) > 1, [record.spread for record in notes.epochs]
    (sentence,) = notes.collapses
    first = fallen[0]
    assert sentence.startswith(f"epoch {first.epoch}: the embeddings collapse onto one point (")
    assert f"spread {first.spread:.2g}" in sentence
    assert "--loss triplet:margin=0,soft=1,log=true" in sentence
    assert sentence.endswith("a smaller learning rate (now 1).")
    assert sentence.count(". ") == 0
    log = (path / "log.txt").read_text()
    assert log.count(sentence) == 1
    assert json.loads((path / "summary.json").read_text())["training_notes"].count(sentence) == 1
    report = (path / "report.html").read_text()
    assert report.count("the embeddings collapse onto one point") == 1


def test_it_is_said_while_it_happens(tmp_path):
    class Stops(Notes):
        def say(self, sentence):
            super().say(sentence)
            if "collapse" in sentence:
                raise Stopped

    notes = Stops()
    with pytest.raises(Stopped):
        run_recipe(recipe(**FALLING), out=tmp_path / "r", listener=notes)
    assert len(notes.epochs) < 30
    assert notes.epochs[-1].collapsed


@pytest.mark.parametrize("sampler", ["hard-triplet", "global-hard"])
def test_paced_samplers_stand_what_collapses_the_hardest_triplets(tmp_path, sampler):
    for name, miner in (("paced", None), ("hardest", "batch-hard")):
        notes = Notes()
        options = FALLING | {"sampler": f"{sampler}:classes=6,per_class=8", "miner": miner}
        run_recipe(recipe(**options), out=tmp_path / name, listener=notes)
        assert notes.epochs[-1].collapsed == (miner == "batch-hard")
        assert len(notes.collapses) == (miner == "batch-hard")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "triplet"},
        {"sampler": "random-pairs:pairs=24"},
        {"sampler": "random-triplets:triplets=16"},
        {"sampler": "balanced:classes=6,per_class=4", "loss": "pml.SupConLoss"},
    ],
    ids=str,
)
def test_a_healthy_run_hears_nothing_of_it(tmp_path, options):
    notes = Notes()
    path = run_recipe(recipe(**options), out=tmp_path / "r", listener=notes).path
    assert notes.collapses == []
    for record in notes.epochs:
        assert record.spread > 0.05
        assert 1 <= record.effective_rank <= 8
    assert "collapse" not in json.dumps(json.loads((path / "summary.json").read_text()))


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ({"sampler": "hard-triplet"}, "--miner paced-hard"),
        ({"sampler": "global-hard"}, "--miner paced-hard"),
        ({"sampler": "n-hard", "miner": "paced-hard", "loss": "triplet"}, "--miner paced-hard"),
        ({"sampler": "semihard-triplet"}, "--sampler semihard-triplet"),
        (
            {"sampler": "hard-triplet:paced=false", "loss": "triplet"},
            "no remedy at all",
        ),
        (
            {"sampler": "hard-triplet:paced=false", "loss": "triplet:margin=0,soft=1,log=true"},
            "log=true",
        ),
        ({"sampler": "schedule:0=random-triplets,5=hard-triplet"}, "--sampler schedule"),
    ],
    ids=str,
)
def test_a_remedy_that_is_in_use_is_not_advised(options, used):
    record = EpochRecord(1, 9, 0.07, 0, {}, best=True, seconds=1.0, spread=0.01, collapsed=True)
    assembly = assemble(recipe(**options), Registry.installed())
    sentence = collapse(record, assembly)
    assert "the embeddings collapse" in sentence
    advised = [way for way in TRIPLET_REMEDIES if way in sentence]
    assert advised == [way for way in TRIPLET_REMEDIES if used not in way]


@pytest.fixture
def folders(tmp_path):
    """The images as files, so that the run can be resumed from its folder alone."""
    for noise in (10, 255):
        data = blobs(noise)
        for row, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
            folder = tmp_path / f"{noise}" / data.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(folder / f"{row:03d}.png")
    return tmp_path


def stopped_and_resumed(path: Path, options: dict[str, Any], steps: int) -> Notes:
    """Begin, stop after so many steps as a signal would, and go on."""

    class Signals(Notes):
        def record(self, record, epochs):
            super().record(record, epochs)
            if isinstance(record, StepRecord) and record.step == steps:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run_recipe(Recipe(**options), out=path, listener=Signals())
    notes = Notes()
    resume(path, listener=notes)
    return notes


def on_files(root: Path, noise: int, **options: Any) -> dict[str, Any]:
    values = vars(recipe(noise, **options))
    return values | {"dataset": f"folder:path={root / str(noise)}"}


def without_time(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "seconds"}


@pytest.mark.exhaustive
def test_after_a_resume_it_is_not_said_again_and_stays_noted(folders):
    options = on_files(folders, **FALLING)
    straight = Notes()
    run_recipe(Recipe(**options), out=folders / "straight", listener=straight)
    fallen = next(record for record in straight.epochs if record.collapsed)
    notes = stopped_and_resumed(folders / "stopped", options, fallen.step + 1)
    assert notes.collapses == []
    assert any(record.collapsed for record in notes.epochs)
    told = [
        json.loads((folders / name / "summary.json").read_text())["training_notes"]
        for name in ("straight", "stopped")
    ]
    assert told[0] == told[1]
    assert straight.collapses[0] in told[1]


@pytest.mark.parametrize("steps", [1, pytest.param(3, marks=pytest.mark.exhaustive)])
def test_a_resumed_epoch_has_the_line_of_one_that_was_not_stopped(folders, steps):
    """But for its health, which is that of the embeddings since."""
    options = on_files(folders, 10, epochs=2)
    run_recipe(Recipe(**options), out=folders / "straight")
    stopped_and_resumed(folders / "stopped", options, steps)
    ours, theirs = (
        [without_time(line) for line in lines(folders / name)] for name in ("straight", "stopped")
    )
    health = ("spread", "effective_rank")
    end = next(n for n, line in enumerate(ours) if line.get("epoch_end") and line["step"] > steps)
    for line in (ours[end], theirs[end]):
        for name in health:
            assert line.pop(name) is not None
    assert ours == theirs


def test_each_line_tells_its_shares(tmp_path):
    path = run_recipe(recipe(epochs=1, loss="triplet"), out=tmp_path / "r").path
    *steps, epoch = lines(path)
    for line in steps:
        assert re.fullmatch(r"\d+ \d+ \d+", f"{line['active']} {line['tuples']} {line['possible']}")
        assert line["active_share"] == line["active"] / line["tuples"]
        assert line["chosen_share"] == line["tuples"] / line["possible"]
    assert 0 < epoch["active_share"] <= 1
    assert 0 < epoch["spread"] <= 1
    assert epoch["collapsed"] is False
