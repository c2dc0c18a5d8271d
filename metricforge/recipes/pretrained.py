"""The defaults of a recipe whose features are learned already: of a backbone, or vectors."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from metricforge.contracts import Merging, Preprocessed, Pretrainable, Pretrained
from metricforge.errors import MetricForgeError
from metricforge.model_card import PASSES_ON
from metricforge.recipes.components import component
from metricforge.recipes.custom_object import Component, CustomObject
from metricforge.recipes.recipe import Recipe
from metricforge.recipes.starting_weights import without_weights
from metricforge.registry import Registry
from metricforge.spec import Spec, options_of

DIM, DIM_OF_PRETRAINED = 64, 512
IDENTITY = Spec(PASSES_ON, typed=False)
OF_FEATURES = Spec("linear", {"start": "pca"}, typed=False)
# A head that begins as good features needs small steps; ten times the rate undoes them. The
# backbone needs smaller ones: benchmarks/photos-ledger.md has the trials on validation classes.
SLOW = Spec("adamw", {"lr": "0.0001"}, typed=False)
RATES, FROZEN = "backbone=0.3", "backbone=0"


@dataclass(frozen=True)
class _Start:
    """How a backbone begins: from learned weights or not, the side they were trained at, F.

    It may have no weights that could learn, as a network in a file of another program.
    """

    pretrained: bool = False
    size: tuple[int, int] | None = None
    features: int | None = None
    learns: bool = True

    @property
    def rates(self) -> str:
        """The default factors on the learning rate."""
        return RATES if self.learns else FROZEN


def with_network_defaults(recipe: Recipe, registry: Registry) -> tuple[Recipe, bool]:
    """The recipe with the defaults that depend on whether its backbone is pretrained.

    Of a pretrained backbone, image files are decoded at the size that it takes, the head begins at
    the principal components of the features and has more dimensions, the learning rate is small,
    that of the backbone smaller, and batch norm keeps its statistics. Weights that an adapter adds
    begin at nothing, and learn at the full rate. What the user has set stays. Also returns whether
    the backbone is pretrained.
    """
    start = _start_of(recipe, registry)
    if not start.pretrained:
        own = recipe.but(dim=recipe.dim or DIM, batch_norm=recipe.batch_norm or "batch")
        return own, False
    dim = min(DIM_OF_PRETRAINED, start.features or DIM_OF_PRETRAINED)
    own = recipe.but(
        dataset=at_size(recipe.dataset, start.size, registry),
        head=OF_FEATURES if _is_default(recipe.head) else recipe.head,
        dim=recipe.dim or dim,
        optimizer=SLOW if _is_default(recipe.optimizer) else recipe.optimizer,
        batch_norm=recipe.batch_norm or "frozen",
        rates=recipe.rates or (None if _adds_weights(recipe, registry) else start.rates),
    )
    return own, True


def _adds_weights(recipe: Recipe, registry: Registry) -> bool:
    """Whether an adapter of a recipe adds weights to the backbone."""
    makers = (
        registry.factory("adapter", each) if isinstance(each, Spec) else each.value
        for each in recipe.adapters
    )
    return any(isinstance(maker, Merging) for maker in makers)


def with_vector_defaults(recipe: Recipe, length: int | None = None) -> Recipe:
    """The recipe with the defaults of vectors of a length, most of which a model has embedded.

    They are those of the features of a pretrained backbone, and the backbone passes vectors on.
    Without a length the dimensions of the embedding stay unset.
    """
    return recipe.but(
        backbone=IDENTITY if _is_default(recipe.backbone) else recipe.backbone,
        head=OF_FEATURES if _is_default(recipe.head) else recipe.head,
        dim=recipe.dim or (length and min(DIM_OF_PRETRAINED, length)),
        optimizer=SLOW if _is_default(recipe.optimizer) else recipe.optimizer,
        batch_norm=recipe.batch_norm or "batch",
    )


def _is_default(chosen: Component) -> bool:
    return isinstance(chosen, Spec) and not chosen.typed


def _start_of(recipe: Recipe, registry: Registry) -> _Start:
    """How the backbone of a recipe begins; it is built for that, and built again to be trained."""
    chosen, source = without_weights(registry, "backbone", recipe.backbone)
    if isinstance(chosen, CustomObject):
        return _Start()
    offers: dict[str, Any] = {"in_channels": 3, "image_size": (224, 224)}
    backbone = None
    # One that does not fit says so when it is built for the images.
    with suppress(MetricForgeError):
        backbone = component(registry, "backbone", chosen, offers)
    if not isinstance(backbone, nn.Module):
        return _Start()
    learned = isinstance(backbone, Pretrained) and backbone.pretrained is True
    size = backbone.preprocessing.size if isinstance(backbone, Preprocessed) else None
    if size is None and isinstance(backbone, Pretrainable):
        size = backbone.pretrained_preprocessing.size
    features = getattr(backbone, "out_features", None)
    learns = next(backbone.parameters(), None) is not None
    return _Start(learned or source is not None, size, features, learns)


def at_size(
    dataset: Component | str, size: tuple[int, int] | None, registry: Registry
) -> Component | str:
    """A dataset of image files with the size that they are decoded at, unless the user set one.

    Such a dataset has the options `size` and `cache`.
    """
    if size is None or not isinstance(dataset, Spec) or "size" in dataset.options:
        return dataset
    if not {"size", "cache"} <= options_of(registry.factory("dataset", dataset)).keys():
        return dataset
    height, width = size
    sides = str(height) if height == width else f"{height}x{width}"
    return replace(dataset, options={**dataset.options, "size": sides})
