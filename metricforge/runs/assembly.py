"""From a recipe to finished objects: the one place where specs become components."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from metricforge.contracts import Dataset, EvaluationProtocol
from metricforge.data.images import Images, fingerprint, open_images
from metricforge.data.orientations import Oriented, oriented_labels
from metricforge.data.split import Split, split_dataset
from metricforge.errors import DataError, PluginError, UsageError
from metricforge.model import Card, EmbeddingModel, build
from metricforge.registry import Registry
from metricforge.runs.recipe import Recipe, described
from metricforge.runs.selection import Selection, labelled_part
from metricforge.runtime import Runtime, seed_torch
from metricforge.spec import Spec, asks_of
from metricforge.training.conduct import check_fit
from metricforge.training.loop import Task
from metricforge.training.optimizer import (
    complete_optimizer,
    complete_schedule,
    make_optimizer,
    make_schedule,
)

# A default budget: enough images for the small networks here to settle, in minutes on two cores.
USUAL_IMAGES = 100_000
FEWEST_EPOCHS, MOST_EPOCHS = 2, 40
# With fewer classes to train on, the network learns to tell those apart and little else: each
# orientation of a class then counts as a further class.
FEW_CLASSES = 20
SAMPLED_FOR_STATISTICS = 2_000
REHEARSED_IMAGES = 5_000

T = TypeVar("T")


@dataclass(frozen=True)
class Assembly:
    """A recipe with everything resolved and built, ready to train."""

    recipe: Recipe
    dataset: Dataset
    images: Images
    fingerprint: str
    split: Split
    task: Task
    protocols: Mapping[str, EvaluationProtocol]
    runtime: Runtime
    notes: tuple[str, ...]


def assemble(recipe: Recipe, registry: Registry) -> Assembly:
    """Everything that `recipe` names, built and checked before any training.

    Raises what a user should hear: UsageError for names, options and things that don't fit,
    DataError for images and splits, PluginError for plugins.
    """
    runtime = Runtime.resolve(recipe.device, recipe.precision, recipe.channels_last)
    protocols = {text: make_protocol(registry, text) for text in recipe.protocols}
    dataset = make_dataset(registry, recipe.dataset, recipe.data_root)
    split = split_dataset(dataset, Spec.parse(recipe.split) if recipe.split else None)
    images = open_images(dataset)
    images = images.to(runtime.device) if images.in_memory else images
    recipe = _resolved(recipe, dataset, split)
    views = recipe.orientations or 1
    shown = Oriented(images, views)
    labels = dataset.labels[split.train].unique(return_inverse=True)[1]
    labels, train = oriented_labels(labels, views), oriented_labels(split.train, views)
    groups = None
    if dataset.groups is not None:
        groups = oriented_labels(dataset.groups[split.train], views)
    sampler = _component(registry, "sampler", recipe.sampler, {"labels": labels, "groups": groups})
    recipe = recipe.but(loss=recipe.loss or _default_loss(registry, sampler))
    seed_torch(recipe.seed)
    model = build_model(recipe, registry, dataset, split, images)
    classes = int(labels.max()) + 1
    loss = _component(registry, "loss", recipe.loss, {"dim": recipe.dim, "num_classes": classes})
    miner = sampler.miner
    if recipe.miner:
        margin = getattr(loss, "margin", None)
        miner = _component(registry, "miner", recipe.miner, {"margin": margin})
    check_fit(miner, loss, _fitting_losses(registry, miner.kind))
    runtime.place(model)
    if isinstance(loss, nn.Module):
        loss.to(runtime.device)
    selection = Selection.of(
        make_protocol(registry, recipe.validation), recipe.select, dataset, split, images, runtime
    )
    selection(model)
    _rehearse(protocols, dataset, split)
    task = Task(
        model=model,
        loss=loss,
        sampler=sampler,
        miner=miner,
        images=shown,
        train=train,
        labels=labels,
        optimizer=make_optimizer(Spec.parse(recipe.optimizer), (model, loss)),
        schedule=make_schedule(Spec.parse(recipe.schedule)),
        validate=selection,
        epochs=recipe.epochs or FEWEST_EPOCHS,
        seed=recipe.seed,
        views=views,
    )
    said = () if views == 1 else (f"each class is trained on in {views} orientations, as {views}.",)
    notes = (*dataset.notes, *said, *getattr(sampler, "notes", ()), *selection.notes)
    recipe = _written_out(recipe, registry)
    mark = fingerprint(dataset)
    return Assembly(recipe, dataset, images, mark, split, task, protocols, runtime, notes)


def make_dataset(registry: Registry, dataset: Any, data_root: str) -> Dataset:
    """The dataset that a spec names, or the given one; PluginError if it is no Dataset."""
    offers = {"root": Path(data_root).expanduser()}
    made = _component(registry, "dataset", dataset, offers)
    if not isinstance(made, Dataset):
        raise PluginError(f"dataset {described(dataset)} must give a Dataset, not {type(made)}.")
    if len(made) == 0:
        raise DataError(f"dataset {described(dataset)} has no images.")
    return made


def make_protocol(registry: Registry, text: str) -> EvaluationProtocol:
    """The protocol that a spec names."""
    protocol: EvaluationProtocol = registry.build("protocol", Spec.parse(text), {})
    return protocol


def build_model(
    recipe: Recipe, registry: Registry, dataset: Dataset, split: Split, images: Images
) -> EmbeddingModel:
    """The untrained model of a recipe, drawn from torch's generator as it is now."""
    mean, std = _statistics(images, split.train)
    card = Card(
        backbone=described(recipe.backbone),
        head=described(recipe.head),
        dim=recipe.dim,
        shape=images.shape,
        mean=mean,
        std=std,
        trained_on=dataset.name,
        seen_classes=_seen(split, dataset),
        split=split.hash,
    )
    channels, height, width = images.shape
    offers = {"in_channels": channels, "image_size": (height, width)}
    backbone = _component(registry, "backbone", recipe.backbone, offers)
    features = getattr(backbone, "out_features", None)
    head = _component(registry, "head", recipe.head, {"in_features": features, "dim": recipe.dim})
    return build(registry, card, backbone, head)


def _component(registry: Registry, kind: str, given: Any, offers: Mapping[str, Any]) -> Any:
    """A component from its spec, from a class (or a partial of one), or the object itself."""
    if isinstance(given, str):
        return registry.build(kind, Spec.parse(given), offers)
    made_of = given.func if isinstance(given, partial) else given
    if not isinstance(made_of, type):
        return given
    asked = {name: offers.get(name) for name in asks_of(given) if name in offers}
    return given(**asked)


def _resolved(recipe: Recipe, dataset: Dataset, split: Split) -> Recipe:
    """The recipe with the defaults that depend on the data: split, orientations, epochs."""
    few = not split.closed_set and len(split.classes("train", dataset)) < FEW_CLASSES
    _, height, width = dataset.shape
    usual_views = 8 if few and height == width else 1
    views = usual_views if recipe.orientations is None else recipe.orientations
    passes = math.ceil(USUAL_IMAGES / (len(split.train) * views))
    usual = min(max(passes, FEWEST_EPOCHS), MOST_EPOCHS)
    return recipe.but(split=split.rule, orientations=views, epochs=recipe.epochs or usual)


def _written_out(recipe: Recipe, registry: Registry) -> Recipe:
    """The recipe with every default of every component filled in, for the record."""
    kinds = ("dataset", "sampler", "miner", "loss", "backbone", "head")
    specs = {kind: value for kind in kinds if isinstance(value := getattr(recipe, kind), str)}
    full = {kind: str(registry.complete(kind, Spec.parse(text))) for kind, text in specs.items()}
    return recipe.but(
        **full,
        optimizer=str(complete_optimizer(Spec.parse(recipe.optimizer))),
        schedule=str(complete_schedule(Spec.parse(recipe.schedule))),
        protocols=tuple(
            str(registry.complete("protocol", Spec.parse(text))) for text in recipe.protocols
        ),
        validation=str(registry.complete("protocol", Spec.parse(recipe.validation))),
    )


def _default_loss(registry: Registry, sampler: Any) -> str:
    suggested = getattr(sampler, "default_loss", None)
    if suggested is None:
        names = ", ".join(entry.shown for entry in registry.entries("loss"))
        raise UsageError(f"this sampler suggests no loss; name one with --loss: {names}.")
    return str(suggested)


def _fitting_losses(registry: Registry, kind: Any) -> str:
    """The names of the losses that take tuples of this kind; a loss that fails is passed over."""
    fitting = []
    for entry in registry.entries("loss"):
        if entry.family:
            fitting.append(entry.shown)
            continue
        try:
            factory = registry.factory("loss", Spec(entry.name, {}, entry.distribution))
        except PluginError:
            continue
        accepts = getattr(factory, "accepts", None)
        if accepts is None or kind in accepts:
            fitting.append(entry.name)
    return ", ".join(fitting) or "none"


def _rehearse(protocols: Mapping[str, EvaluationProtocol], dataset: Dataset, split: Split) -> None:
    """Refuse now what the test part can't answer: too few classes, too few images of each.

    Only the labels of the test part are looked at; a large one has plenty of both.
    """
    if len(split.test) <= REHEARSED_IMAGES:
        rows = torch.rand(len(split.test), 2, generator=torch.Generator().manual_seed(0))
        for protocol in protocols.values():
            protocol.evaluate(rows, labelled_part(dataset, split.test))


def _seen(split: Split, dataset: Dataset) -> tuple[str, ...]:
    seen = {*split.classes("train", dataset), *split.classes("validation", dataset)}
    return tuple(name for name in dataset.classes if name in seen)


def _statistics(images: Images, train: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, over an even sample of the train set."""
    stride = max(1, len(train) // SAMPLED_FOR_STATISTICS)
    pixels = images.take(train[::stride]).double() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3)).clamp(min=1e-2)
    return tuple(round(float(v), 6) for v in mean), tuple(round(float(v), 6) for v in std)
