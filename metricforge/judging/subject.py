"""The model that is tested: of a run, in a folder, or an object."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Initializing
from metricforge.errors import ArtefactError, UsageError
from metricforge.hub.address import is_address
from metricforge.loading import build, load
from metricforge.model import EmbeddingModel
from metricforge.recipes.components import starting_parts
from metricforge.recipes.custom_object import CustomObject
from metricforge.recipes.starting_weights import StartingWeights
from metricforge.registry import Registry
from metricforge.runs.environment import Environment
from metricforge.runs.run import Run
from metricforge.runtime import seed_torch
from metricforge.scoring.baselines import UNTRAINED, before_training

Subject = Run | EmbeddingModel | str | Path | Tensor | NDArray[Any]


def run_of(subject: Subject) -> Run | None:
    if isinstance(subject, Run):
        return subject
    if is_address(subject):  # what is there is a model alone
        return None
    if isinstance(subject, str | Path) and (Path(subject) / "config.toml").is_file():
        return Run.open(subject)
    return None


def load_model(subject: Subject, device: str, registry: Registry) -> EmbeddingModel:
    """The model itself, or that of a run, in a folder or on a hub.

    ArtefactError if there is none (yet).
    """
    if isinstance(subject, EmbeddingModel):
        return subject
    if is_address(subject):
        return load(str(subject), device=device, registry=registry)
    path = subject.path if isinstance(subject, Run) else Path(str(subject))
    if not path.exists():
        raise ArtefactError(f"{path} does not exist: give the folder of a run or of a model.")
    if (path / "config.toml").is_file() and not (path / "model").is_dir():
        raise ArtefactError(
            f"{path} has no model yet: its training has not ended; resume it with "
            f"metricforge train --resume {shlex.quote(str(path))}."
        )
    return load(path, device=device, registry=registry)


def untrained_model(
    model: EmbeddingModel, run: Run | None, registry: Registry
) -> tuple[str, EmbeddingModel]:
    """The network at the start of a run's training, and the name of its row."""
    if run is None:
        raise UsageError("no run says what this model began with: leave out --untrained.")
    recipe, card = run.recipe, model.card
    if isinstance(recipe.backbone, CustomObject) or isinstance(recipe.head, CustomObject):
        raise UsageError("a network of your own can't be built anew: leave out --untrained.")
    seed_torch(recipe.seed)
    start = StartingWeights()
    # By the recipe: the card's backbone lacks the option for its initial weights.
    bare = build(registry, card, *starting_parts(recipe, registry, card.shape, start))
    recorded = run.folder.read("env", Environment).get("weights", {})
    if recorded != start.hashes:
        raise ArtefactError(
            f"the weights that {run.path} started from have changed since: put the file back, or "
            "leave out --untrained."
        )
    head = bare.head
    name, bare = before_training(bare, bare.state_dict(), is_custom=False)
    if name == UNTRAINED and isinstance(head, Initializing) and head.wants_features:
        raise UsageError(
            f"the head of {run.path} began at the features of its training images, and can't be "
            "built anew without them: leave out --untrained."
        )
    return name, bare.to(model.device).eval()
