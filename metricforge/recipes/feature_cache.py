"""Where a recipe keeps the features of a frozen backbone for later runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.code_identity import code_of
from metricforge.data.feature_cache import FeatureCache, image_keys, network_key
from metricforge.errors import UsageError
from metricforge.model import EmbeddingModel
from metricforge.recipes.custom_object import Component
from metricforge.recipes.recipe import NONE, Recipe
from metricforge.recipes.starting_weights import without_weights
from metricforge.registry import Registry
from metricforge.runtime import Runtime
from metricforge.spec import Spec
from metricforge.training.augmentation import Chain

FOLDER = Path("~/.cache/metricforge")
VARIABLE = "METRICFORGE_CACHE"
"""The environment variable that names another folder, or none."""


def feature_cache(
    recipe: Recipe,
    registry: Registry,
    dataset: Dataset,
    model: EmbeddingModel,
    augmentation: Chain | None,
    runtime: Runtime,
) -> FeatureCache | None:
    """The cache of a recipe's features; None if it is switched off.

    A backbone or an augmentation that is a Python object has none: its code may be anywhere.
    """
    folder = cache_folder(recipe)
    steps = (recipe.augment or ()) if augmentation else ()
    if folder is None or not all(isinstance(part, Spec) for part in (recipe.backbone, *steps)):
        return None
    card = model.card
    network = network_key(
        model.backbone,
        _known_as(registry, "backbone", without_weights(registry, "backbone", recipe.backbone)[0]),
        (card.mean, card.std, card.input_size, card.interpolation),
        (runtime.device.type, runtime.precision, recipe.channels_last, torch.get_num_threads()),
        *([] if model.cut is None else [model.cut.above]),
    )
    fill = augmentation.fill if augmentation else []
    shown = [*(_known_as(registry, "augmentation", step) for step in steps), fill, recipe.seed]

    def keys(indices: Tensor, view: int) -> Sequence[bytes]:
        if not view:
            return image_keys(dataset, indices)
        # An augmentation draws by the seed, the view and the index of the image.
        return [
            key
            for index in indices
            for key in image_keys(dataset, index[None], f"{[*shown, view, int(index)]}")
        ]

    return FeatureCache(folder / "features", network, keys)


def cache_folder(recipe: Recipe) -> Path | None:
    """The folder that a recipe or the environment names, else the usual one; None for none."""
    chosen = recipe.feature_cache
    if chosen is None:
        chosen = os.environ.get(VARIABLE, str(FOLDER))
    if not chosen:
        raise UsageError("the feature cache has no name; write a folder, or none to keep nothing.")
    return None if chosen == NONE else Path(chosen).expanduser()


def _known_as(registry: Registry, kind: str, component: Component) -> str:
    """What determines a component: its spec with all options, its distribution, its code."""
    assert isinstance(component, Spec), "objects have no cache"
    full = registry.complete(kind, component)
    code = code_of(registry.factory(kind, component).__module__)
    return f"{full} {registry.find(kind, component).origin} {code}"
