"""Components built from specs, classes or finished objects, with checks of a plugin's errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metricforge.contracts import (
    TEST,
    Adapter,
    Dataset,
    EvaluationProtocol,
    Rebuildable,
    TakingVectors,
)
from metricforge.data.images import MEMORY_LIMIT, Images, is_of_inputs
from metricforge.data.split import Split
from metricforge.data.vectors import refuse_not_finite
from metricforge.errors import (
    DataError,
    PluginError,
    ResourceError,
    UnfitError,
    UsageError,
    out_of_memory,
)
from metricforge.loading import build
from metricforge.member_names import refuse_misnamed
from metricforge.model import EmbeddingModel
from metricforge.model_card import Card, offers_of
from metricforge.plugin_errors import blame_of
from metricforge.recipes.custom_object import Component
from metricforge.recipes.network_input import (
    input_size,
    normalization,
    preprocessing_of,
    train_size,
)
from metricforge.recipes.recipe import Recipe
from metricforge.recipes.starting_weights import StartingWeights, without_weights
from metricforge.registry import Registry
from metricforge.spec import Spec, asks_of
from metricforge.training.optimizer import read_rates
from metricforge.weights.adapting import weights_hash

FILES_LOOKED_AT = 1_000


def component(registry: Registry, kind: str, chosen: Component, offers: Mapping[str, Any]) -> Any:
    """A component from its spec, from a class (or a partial of one), or the object itself."""
    if isinstance(chosen, Spec):
        return registry.build(kind, chosen, offers)
    made = chosen.value
    if not chosen.is_finished:
        offers = {**offers, "build": registry.builder(kind, offers)}
        required = [name for name in asks_of(chosen.value) if name in offers]
        made = chosen.value(**{name: offers[name] for name in required})
    refuse_misnamed(kind, made, blame_of(made))
    return made


def make_dataset(registry: Registry, dataset: Component, data_root: str) -> Dataset:
    """The dataset of a spec or an object; PluginError if it breaks the contract."""
    made = component(registry, "dataset", dataset, {"root": Path(data_root).expanduser()})
    name = f"dataset {dataset}"
    if not isinstance(made, Dataset):
        raise PluginError(f"{name} must give a Dataset, not {type(made).__name__}.")
    if len(made) == 0:
        raise DataError(f"{name} has no images.")
    if len(set(made.classes)) < len(made.classes):
        twice = next(each for each in made.classes if made.classes.count(each) > 1)
        raise PluginError(f"{name} has two classes by the name '{twice}'; give each its own.")
    count = len(made.labels)
    if isinstance(made.images, Tensor) and not is_of_inputs(made.images):
        actual = f"{made.images.dtype} {list(made.images.shape)}"
        raise PluginError(
            f"{name}: images must be uint8 [N, C, H, W] or float [N, F], not {actual}."
        )
    if not isinstance(made.images, Tensor) and not all(
        map(_is_file, made.images[:FILES_LOOKED_AT])
    ):
        raise PluginError(f"{name}: images must be one tensor or a sequence of Paths.")
    if not isinstance(made.images, Tensor) and made.of_vectors:
        raise PluginError(f"{name}: vectors are one tensor [N, V], not files.")
    if isinstance(made.images, Tensor):
        _check_inputs(made.images, name)
    for field, limit in (
        ("labels", len(made.classes)),
        ("groups", len(made.group_names)),
        ("official", TEST + 1),
    ):
        values = getattr(made, field)
        if values is not None and not _indexes(values, count, limit):
            raise PluginError(f"{name}: {field} must be int64 [{count}] from 0 to {limit - 1}.")
    known = range(len(made.classes))
    if not all({index, *of} <= set(known) and of for index, of in made.made_of.items()):
        raise PluginError(f"{name}: made_of must be of classes from 0 to {known[-1]}.")
    for field in ("queries", "gallery"):
        flags = getattr(made, field)
        if flags is not None and (flags.dtype, flags.shape) != (torch.bool, (count,)):
            raise PluginError(f"{name}: {field} must be bool [{count}].")
    if (made.queries is None) != (made.gallery is None):
        raise PluginError(f"{name}: give queries and gallery, or none of them.")
    return made


def _check_inputs(inputs: Tensor, name: str) -> None:
    """PluginError or DataError for a tensor whose numbers can't be used as they are."""
    if inputs.layout != torch.strided:
        raise PluginError(f"{name}: images are a sparse tensor; pass images.to_dense().")
    if inputs.requires_grad:
        raise PluginError(f"{name}: images are part of a graph; pass images.detach().")
    # Larger ones may lie in a file, whose reader has checked them.
    if inputs.ndim == 2 and inputs.nbytes <= MEMORY_LIMIT:
        refuse_not_finite(inputs, f"the vectors of {name}")


def _is_file(image: Any) -> bool:
    return isinstance(image, Path) or callable(getattr(image, "read", None))


def make_protocol(registry: Registry, spec: Spec) -> EvaluationProtocol:
    """The protocol that a spec names."""
    protocol: EvaluationProtocol = component(registry, "protocol", spec, {})
    return protocol


def build_model(
    recipe: Recipe,
    registry: Registry,
    dataset: Dataset,
    split: Split,
    images: Images,
    start: StartingWeights,
) -> EmbeddingModel:
    """The model of a recipe before training, drawn from torch's generator in its current state.

    Weights that the recipe names are loaded, and recorded in `start`; then the backbone gets its
    adapters.
    """
    assert recipe.dim is not None, "its defaults are set"
    adapters = _adapters(recipe, registry)
    backbone, head = starting_parts(recipe, registry, images.shape, start)
    start.check_seen(split, dataset)
    preprocessing = start.preprocessing(backbone, preprocessing_of(backbone, str(recipe.backbone)))
    mean, std = normalization(preprocessing, images, split.train)
    card = Card(
        backbone=_record_of_backbone(registry, backbone, recipe.backbone),
        head=_recorded(registry, "head", recipe.head),
        dim=recipe.dim,
        shape=images.shape,
        mean=mean,
        std=std,
        input_size=input_size(preprocessing, images.shape),
        interpolation=preprocessing.interpolation,
        reading=dataset.reading,
        trained_on=dataset.name,
        seen_classes=tuple(dict.fromkeys(_training_classes(split, dataset) + start.seen_classes)),
        split=split.hash,
        adapters=tuple(_recorded(registry, "adapter", each) for each in recipe.adapters),
        base=weights_hash(backbone) if adapters else "",
    )
    model = build(registry, card, backbone, head, adapters)
    model.train_size = train_size(recipe, card.input_size)
    _try_out(model, images, split.train, recipe)
    return model


def _adapters(recipe: Recipe, registry: Registry) -> tuple[Adapter, ...]:
    """The adapters of a recipe; UsageError where the backbone does not learn."""
    if recipe.adapters and read_rates(recipe.rates)["backbone"] == 0:
        raise UsageError("adapters are of a backbone that learns: leave them out, or backbone=0.")
    return tuple(component(registry, "adapter", each, {}) for each in recipe.adapters)


def starting_parts(
    recipe: Recipe, registry: Registry, shape: tuple[int, ...], start: StartingWeights
) -> tuple[nn.Module, nn.Module]:
    """The backbone and the head of a recipe for inputs of a shape, with the weights it names."""
    chosen, source = without_weights(registry, "backbone", recipe.backbone)
    backbone = component(registry, "backbone", chosen, offers_of(shape))
    if isinstance(chosen, Spec):
        check_takes("backbone", str(chosen), backbone, shape)
    features = getattr(backbone, "out_features", None)
    if not isinstance(backbone, nn.Module) or not isinstance(features, int):
        raise PluginError(
            f"backbone '{recipe.backbone}' must be an nn.Module with an int out_features."
        )
    chosen_head, source_of_head = without_weights(registry, "head", recipe.head)
    head = component(registry, "head", chosen_head, {"in_features": features, "dim": recipe.dim})
    if source:
        record = _record_of_backbone(registry, backbone, chosen)
        start.load("backbone", backbone, source, str(chosen), record)
    if source_of_head:
        record = _recorded(registry, "head", chosen_head)
        start.load("head", head, source_of_head, str(chosen_head), record)
    return backbone, head


def check_takes(kind: str, name: str, made: Any, shape: tuple[int, ...]) -> None:
    """UnfitError for a component that takes images where there are vectors, or the reverse."""
    takes_vectors = isinstance(made, TakingVectors) and made.takes_vectors is True
    if takes_vectors and len(shape) == 3:
        raise UnfitError(
            f"{kind} '{name}' takes vectors, and the dataset has images; leave it out."
        )
    if not takes_vectors and len(shape) == 1:
        raise UnfitError(
            f"{kind} '{name}' takes images, and the dataset has vectors; leave it out."
        )


def _record_of_backbone(registry: Registry, backbone: nn.Module, chosen: Component) -> str:
    """The record of a backbone: a saved model has the weights, and is built without fetching."""
    if isinstance(backbone, Rebuildable):
        return backbone.rebuild
    return _recorded(registry, "backbone", chosen)


def _recorded(registry: Registry, kind: str, chosen: Component) -> str:
    """The record of a component in a model's card: its spec with all defaults, or the object.

    A saved model has the weights, so the card does not name those that it started from.
    """
    own = chosen if kind == "adapter" else without_weights(registry, kind, chosen)[0]
    return str(registry.complete(kind, own) if isinstance(own, Spec) else own)


def _try_out(model: EmbeddingModel, images: Images, train: Tensor, recipe: Recipe) -> None:
    """Check the network's output shapes on two images, before anything slow."""
    shown = images.take(train[:2]).cpu()
    model.eval()
    with torch.inference_mode():
        name = f"backbone {recipe.backbone}"
        features = _tried(name, partial(model.features, shown), model.backbone.out_features)
        _tried(f"head {recipe.head}", partial(model.head, features), recipe.dim)
        if model.train_size:
            _try_train_size(model, model.train_size, name)
    model.train()


def _try_train_size(model: EmbeddingModel, size: tuple[int, int], name: str) -> None:
    """UsageError if a backbone that can embed images of its own size takes no other."""
    height, width = size
    images = torch.zeros(2, model.card.shape[0], height, width, dtype=model.mean.dtype)
    try:
        _tried(name, partial(model.backbone, images), model.width)
    except PluginError as error:
        raise UsageError(
            f"{name} takes no images of {height} x {width} pixels: leave train-scale out."
        ) from error


def _tried(name: str, embed: Callable[[], Any], width: Any) -> Tensor:
    """The output of a module for two images, [2, width]; PluginError for anything else."""
    try:
        output = embed()
    except Exception as error:
        if out_of_memory(error):
            raise ResourceError(f"out of memory in {name}; a smaller one takes less.") from error
        reason = " ".join(str(error).split())
        raise PluginError(f"{name} can't embed: {type(error).__name__}: {reason}") from error
    if not isinstance(output, Tensor) or output.shape != (2, width):
        got = f"{list(output.shape)} for 2" if isinstance(output, Tensor) else type(output).__name__
        raise PluginError(f"{name} must give [B, {width}] for B images, not {got}.")
    return output


def _indexes(values: Any, count: int, limit: int) -> bool:
    return (
        isinstance(values, Tensor)
        and values.dtype == torch.int64
        and values.shape == (count,)
        and bool((values >= 0).all() & (values < limit).all())
    )


def _training_classes(split: Split, dataset: Dataset) -> tuple[str, ...]:
    used = {*split.classes("train", dataset), *split.classes("validation", dataset)}
    return tuple(name for name in dataset.classes if name in used)
