"""Which part of which dataset a model is tested on, from what the user names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.errors import DataError, UsageError
from metricforge.judging.held_out import Tested
from metricforge.judging.own_dataset import (
    as_trained,
    cache_note,
    is_own,
    open_own_dataset,
    own_split,
)
from metricforge.model import EmbeddingModel
from metricforge.recipes.components import make_dataset
from metricforge.recipes.custom_object import Component, CustomObject
from metricforge.recipes.dataset_spec import dataset_spec
from metricforge.registry import Registry
from metricforge.runs.run import Run
from metricforge.spec import Spec


def tested_part(
    model: EmbeddingModel,
    run: Run | None,
    dataset: Any,
    part: str | None,
    allow_seen: bool,
    data_root: str | None,
    registry: Registry,
) -> Tested:
    """The part to evaluate on: of the run's own dataset, by its split, or of another.

    A dataset with the same fingerprint is the run's own, wherever it lies now.
    """
    dataset = str(dataset) if isinstance(dataset, Path) else dataset
    if dataset is not None:
        component: Component = (
            dataset_spec(dataset, registry)
            if isinstance(dataset, str)
            else CustomObject.of(dataset)
        )
        root = data_root or "data"
        alike = as_trained(run, component, registry, root) if run else None
        if run and alike is not None and (known := _known(run, alike, part, allow_seen)):
            return known
        made = make_dataset(registry, component, root)
        known = _known(run, made, part, allow_seen) if run else None
        tested = known or Tested.of(made, None, part)
        is_own = tested.split is not None
        return tested if is_own else replace(tested, shape=_shape_for(model, made, component))
    if run is None:
        raise UsageError("this model has no run beside it that says on what: name a dataset.")
    try:
        made = open_own_dataset(run, registry, data_root)
    except DataError as error:
        raise DataError(
            f"the dataset of {run.path} can't be opened: {error} Where it has been moved, name its "
            "place, as in --dataset folder:path=NEW: if it holds the same, the run's own split is "
            "taken."
        ) from error
    return replace(Tested.of(made, own_split(run, made), part), notes=tuple(cache_note(run)))


def _known(run: Run, dataset: Dataset, part: str | None, allow_seen: bool) -> Tested | None:
    """The part of a run's own dataset, as it was or as it is now; None for another dataset."""
    if is_own(run, dataset):
        return Tested.of(dataset, own_split(run, dataset), part)
    of_held_out = part in (None, "test") and not allow_seen
    return Tested.changed(dataset, run) if of_held_out else None


def _shape_for(
    model: EmbeddingModel, dataset: Dataset, component: Component
) -> tuple[int, ...] | None:
    """The shape to decode files to: the model's, unless the user named a size.

    At the dataset's default size they would lose what a larger model takes. None: the dataset's.
    """
    if model.card.of_vectors and not dataset.of_vectors:
        raise DataError(
            f"the model takes vectors of {model.card.shape[0]} numbers, and '{dataset.name}' has "
            "images."
        )
    named = component.options if isinstance(component, Spec) else {"size": ""}
    if isinstance(dataset.images, Tensor) or {"size", "color"} & {*named}:
        return None
    return model.card.shape
