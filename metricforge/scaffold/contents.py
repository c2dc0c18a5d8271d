"""The files of a plugin, made from the templates beside this module.

A template is a working plugin named `my-idea`, whose code is tested as it is and then renamed. The
two files that all kinds share have $-placeholders for the differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

from metricforge.entry_points import COMMAND, GROUPS, SEARCH
from metricforge.errors import unknown
from metricforge.scaffold.naming import Naming


@dataclass(frozen=True)
class Guidance:
    """The README's text on a kind: how to try it, and what to change first."""

    command: str
    change: str


GUIDANCE = {
    "sampler": Guidance(
        "metricforge train --sampler my-idea:per_class=4 --epochs 3",
        "`epoch` decides which images meet in a batch, and `miner` which of them are compared. An\n"
        "epoch shows every image, and draws from nothing but `rng`.",
    ),
    "miner": Guidance(
        "metricforge train --sampler balanced --miner my-idea:nearest=2 --loss triplet --epochs 3",
        "The call chooses what the loss compares, from embeddings without gradient and labels. To\n"
        "draw at random, take a third argument, `rng: np.random.Generator`.",
    ),
    "loss": Guidance(
        "metricforge train --sampler hard-triplet --loss my-idea:margin=0.5 --epochs 3",
        "The call scores the tuples of a batch; `accepts` says which kinds of tuples it takes. A\n"
        "loss that learns is an `nn.Module`, and may ask for `dim` and `num_classes`.",
    ),
    "head": Guidance(
        "metricforge train --head my-idea:dropout=0.2 --epochs 3",
        "`forward` turns the backbone's features into the embedding. In evaluation each row\n"
        "depends on its own image alone.",
    ),
    "backbone": Guidance(
        "metricforge train --backbone my-idea:width=16 --epochs 3",
        "`forward` turns normalised images into features, `out_features` of them for each. One\n"
        "that was trained elsewhere also has `preprocessing` and `rebuild`.",
    ),
    "adapter": Guidance(
        "metricforge train --adapter my-idea --epochs 3",
        "`adapt` freezes weights of the backbone or adds some. One that adds weights also has\n"
        "`merge`, and one with learning rates of its own `rates`.",
    ),
    "dataset": Guidance(
        "metricforge train --dataset my-idea:classes=30 --epochs 3",
        "The function gives images, labels and the names of the classes. Ask for `root: Path` to\n"
        "get the folder of `--data-root`.",
    ),
    "augmentation": Guidance(
        "metricforge train --augment my-idea:light=0.5 --epochs 3",
        "The call changes each image by draws of its own: ask `draws` for a number for each. One\n"
        "that only moves pixels has `warp(grid, draws)` in its place.",
    ),
    "optimizer": Guidance(
        "metricforge train --optimizer my-idea:lr=3e-4 --epochs 3",
        "`step` changes each weight by its gradient and the `lr` of its group, which the schedule\n"
        "sets. What it keeps between steps stands in `self.state`, and is saved with a checkpoint.",
    ),
    "schedule": Guidance(
        "metricforge train --schedule my-idea:cycles=2 --epochs 3",
        "The call returns the factor on the learning rate for the fraction of the training that\n"
        "is spent. One with `patience` and `reduced` also reacts to scores on validation classes.",
    ),
    "protocol": Guidance(
        "metricforge train --protocol my-idea:k=5 --epochs 3",
        "`evaluate` gives named numbers, each with an interval and a definition.",
    ),
    "hook": Guidance(
        "metricforge train --hook my-idea:every=10 --epochs 3",
        "Each method that it has is called after that: steps, epochs, the end. Ask for `folder`\n"
        "to get the run's, and for `step` to know where a run is resumed.",
    ),
    "command": Guidance(
        "metricforge train --epochs 3 --out runs/first\nmetricforge my-idea runs/first",
        "The function is a click command: options are click's, results go to stdout, progress to\n"
        "stderr, and a `MetricForgeError` is one sentence with an exit code.",
    ),
    "search": Guidance(
        "metricforge train --epochs 3 --out runs/first\n"
        "metricforge tune runs/first --option dim=16,32 --trials 3 --search my-idea:random=0.3",
        'A suite has it as `search = "my-idea:random=0.3"` in its table `[tune]`. `ask` returns\n'
        "what picks the options of a trial, and `tell` reports the score of the trial.",
    ),
}
"""Every kind of plugin that can be begun."""

KIT = (
    "The first test is MetricForge's own kit for a $kind: it holds the contract of the kind, and\n"
    "with it what users rely on, so that your tests need only say what your idea does.\n"
    "`metricforge plugins check my-idea` runs it too."
)
TESTED = {
    COMMAND: "The tests call the command as a user does, through click.",
    SEARCH: "The tests run trials whose score is known.",
}


def code_of(kind: str) -> str:
    """The code of a kind's template and of its tests; UsageError for an unknown kind."""
    if kind not in GUIDANCE:
        raise unknown("kind of plugin", kind, GUIDANCE)
    return _template(f"{kind}.py") + _template(f"{kind}.test")


def contents(naming: Naming) -> dict[str, str]:
    """The files of a plugin with these names, by their own."""
    kind = naming.kind
    values = {
        "kind": kind,
        "group": next(group for group, of in GROUPS.items() if of == kind),
        "component": naming.component,
        "command": GUIDANCE[kind].command,
        "change": GUIDANCE[kind].change,
        "tested": TESTED.get(kind, Template(KIT).substitute(kind=kind)),
    }
    texts = {
        "my_idea.py": _template(f"{kind}.py"),
        "test_my_idea.py": _template(f"{kind}.test"),
        "pyproject.toml": Template(_template("pyproject.toml")).substitute(values),
        "README.md": Template(_template("README.md")).substitute(values),
    }
    return {_renamed(file, naming): _renamed(text, naming) for file, text in texts.items()}


def _renamed(text: str, naming: Naming) -> str:
    renamed = text.replace("my-idea", naming.name).replace("my_idea", naming.module)
    return renamed.replace("MyIdea", naming.title)


@cache
def _template(name: str) -> str:
    # Not .py: checks of this repository's own code pass them over.
    folder = files("metricforge.scaffold") / "templates"
    return (folder / f"{name}.txt").read_text(encoding="utf-8")
