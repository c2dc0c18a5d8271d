"""Targets: JSON and TOML files that name images, options or runs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import torch

import metricforge as mf
from metricforge.bench import read_suite
from metricforge.contracts import Trials
from metricforge.data import split_dataset
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.scoring.episode_files import read_episodes, write_episodes
from metricforge.spec import Spec
from tests.fuzz.target import JSON, Case, Form, Target
from tests.test_foreign_files import SUITE, as_toml, in_files


def in_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """What writes an input into a file and then reads it."""

    def put(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return put


def _split(folder: Path) -> Case:
    dataset, path = in_files(folder / "set"), folder / "split.json"
    rules = ("random", "images")
    seeds = [split_dataset(dataset, Spec.parse(rule)).to_json(dataset) for rule in rules]
    saved = Spec("saved", {"path": str(path)})
    return Case(
        [json.dumps(seed).encode() for seed in seeds],
        in_file(path, lambda _: split_dataset(dataset, saved)),
    )


def _episodes(folder: Path) -> Case:
    dataset, path = in_files(folder / "set"), folder / "episodes.json"
    trials = Trials(torch.tensor([[[0], [6]], [[1], [8]]]), torch.tensor([[1, 7], [2, 9]]))
    write_episodes(path, {"2way1shot": trials}, dataset)
    return Case([path.read_bytes()], in_file(path, lambda path: read_episodes(path, dataset)))


def _config(folder: Path) -> Case:
    recipe = mf.Recipe(
        augment=("flip", "affine:rotate=10"), images=1000, hooks=("tensorboard",), ema=0.9,
        split="classes:train=0-5,validation=6-7,test=8-9", rates="backbone=0.1",
    )  # fmt: skip
    read = in_file(folder / "config.toml", lambda path: mf.Recipe.from_toml(path).to_toml())
    return Case([recipe.to_toml().encode()], read)


def _suite(folder: Path) -> Case:
    return Case([as_toml(SUITE).encode()], in_file(folder / "small.toml", read_suite))


_TOML = Form(tomllib.loads, as_toml)

TARGETS = {
    "split": Target(_split, (ArtefactError, DataError), 800, JSON),
    "episodes": Target(_episodes, (ArtefactError, DataError), 800, JSON),
    "config": Target(_config, (UsageError,), 800, _TOML),
    "suite": Target(_suite, (UsageError,), 800, _TOML),
}
