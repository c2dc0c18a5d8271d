"""How a model was trained: its recipe, its data, the machine and the time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tomli_w

from metricforge.hub.contents import CURVE
from metricforge.markdown import block, code, text
from metricforge.recipes.custom_object import CustomObject
from metricforge.recipes.recipe import Recipe
from metricforge.runs.readme.facts import Facts
from metricforge.spec import Spec

SHOWN = (
    "sampler", "miner", "loss", "backbone", "head", "adapters", "dim", "orientations", "augment",
    "views", "train_scale", "epochs", "images", "seconds", "optimizer", "schedule", "rates",
    "freeze", "batch_norm", "clip", "ema", "patience", "chunk", "accumulate", "select", "seed",
    "precision",
)  # fmt: skip
"""The options that the README shows: none of the data's, whose values are paths and classes."""

REPEAT = (
    "The run's folder has `config.toml`: with it and the data, `metricforge train --config "
    "config.toml` repeats the run."
)

FILE = "FILE"
"""In place of a value that is the name of a file."""

_OF_FILES = {"weights", "path", "cache", "index"}


def section(facts: Facts) -> Iterator[str]:
    """The recipe and its outcome, with the plot if there is one."""
    summary = facts.summary
    yield "## Training"
    yield ""
    yield from block(excerpt(facts.recipe).rstrip("\n"), "toml")
    yield ""
    yield (
        f"{summary.epochs:,} epochs, {summary.images_seen:,} {facts.inputs}. The weights are those "
        f"of epoch {summary.selected_epoch}, by {text(summary.selected_by)}. "
        + (_longer(facts) or REPEAT)
    )
    if facts.curve:
        yield ""
        yield f"![Loss of each step, and the score on validation classes]({CURVE})"


def data_section(facts: Facts) -> Iterator[str]:
    """The dataset, its split, and the numbers of classes; their names are not listed."""
    yield "## Data"
    yield ""
    yield f"- dataset: {text(facts.summary.dataset)}"
    yield f"- split: {text(facts.split.hash or 'unknown')} (sha256)"
    for name, part in vars(facts.split.parts).items():
        yield f"- {name}: {len(part.classes):,} classes, {part.images:,} {facts.inputs}"
    known = len(facts.card.seen_classes)
    yield (
        f"- {code('model.json')} has the names of the {known:,} classes that the model was trained "
        "or selected on"
    )


def machine_section(facts: Facts) -> Iterator[str]:
    """Versions, hardware and time."""
    environment = facts.environment
    device = environment.get("device_name") or environment.get("device", "unknown")
    threads = environment.get("threads")
    yield "## Versions, hardware, time"
    yield ""
    versions = environment.get("versions", {}).items()
    yield f"- versions: {text(', '.join(f'{name} {version}' for name, version in versions))}"
    yield f"- device: {text(device)}" + (f", {threads:,} threads" if threads else "")
    seconds = facts.summary.seconds
    yield f"- time: {seconds:,.{0 if seconds >= 10 else 1}f} s of training steps"


def excerpt(recipe: Recipe) -> str:
    """The options of a recipe that concern no data, as TOML."""
    values = {name: _shown(getattr(recipe, name)) for name in SHOWN}
    return tomli_w.dumps({name: each for name, each in values.items() if each not in (None, [])})


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_shown(part) for part in value]
    if isinstance(value, Spec):
        return str(_without_files(value))
    return str(value) if isinstance(value, CustomObject) else value


def _without_files(spec: Spec) -> Spec:
    """The spec without the names of files: those of the machine are nobody else's business."""
    options = {
        key: FILE if _names_file(key, value) else value for key, value in spec.options.items()
    }
    return Spec(spec.name, options, spec.distribution)


def _names_file(option: str, value: str) -> bool:
    if value.lower() in ("true", "false", "none"):
        return False
    return option in _OF_FILES or "/" in value or "\\" in value


def _longer(facts: Facts) -> str:
    """That no config repeats a run which was trained longer."""
    if not facts.extended_after:
        return ""
    after = " and ".join(map(str, facts.extended_after))
    return f"It was trained longer after {after} epochs, which no config repeats."
