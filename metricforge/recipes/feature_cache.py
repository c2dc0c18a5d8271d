"""Where a recipe keeps the features of a frozen backbone for later runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.feature_cache import FeatureCache, image_keys, network_key
from metricforge.model import EmbeddingModel
from metricforge.recipes.recipe import NONE, CustomObject, Recipe
from metricforge.registry import Registry
from metricforge.runtime import Runtime

FOLDER = Path("~/.cache/metricforge")
VARIABLE = "METRICFORGE_CACHE"
"""The environment variable that names another folder, or none."""


def feature_cache(
    recipe: Recipe, registry: Registry, dataset: Dataset, model: EmbeddingModel, runtime: Runtime
) -> FeatureCache | None:
    """The cache of a recipe's features; None if it is switched off.

    A backbone that is a Python object has none: its code may be anywhere.
    """
    chosen = recipe.feature_cache or os.environ.get(VARIABLE) or str(FOLDER)
    if chosen == NONE or isinstance(recipe.backbone, CustomObject):
        return None
    card = model.card
    network = network_key(
        model.backbone,
        registry.find("backbone", recipe.backbone).origin,
        (card.mean, card.std, card.input_size, card.interpolation),
        (runtime.device.type, runtime.precision, recipe.channels_last, torch.get_num_threads()),
    )
    folder = Path(chosen).expanduser() / "features"
    augmentation = [str(step) for step in recipe.augment or ()]

    def keys(indices: Tensor, view: int) -> Sequence[bytes]:
        if not view:
            return image_keys(dataset, indices)
        # An augmentation draws by the seed, the view and the index of the image.
        extra = [*augmentation, recipe.seed, view]
        return [
            key
            for index in indices
            for key in image_keys(dataset, index[None], f"{extra} {int(index)}")
        ]

    return FeatureCache(folder, network, keys)
