"""The defaults that depend on the data, and recipes with all defaults written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from metricforge.contracts import Dataset, SuggestingLoss
from metricforge.data.images import Images
from metricforge.data.photographs import are_photographs
from metricforge.data.split import Split, complete_split
from metricforge.enforcement import accepted_kinds
from metricforge.entry_points import OWN
from metricforge.errors import PluginError, UsageError
from metricforge.plugin_errors import name_of
from metricforge.recipes.custom_object import Component, CustomObject
from metricforge.recipes.recipe import Recipe, options
from metricforge.registry import Registry
from metricforge.spec import Spec, asks_of
from metricforge.training.optimizer import read_rates

# Default budgets of images: on two cores, drawings settle in under a minute, photographs in some.
# What a pretrained network already knows it soon forgets.
OF_DRAWINGS, OF_PHOTOGRAPHS, OF_PRETRAINED = 50_000, 100_000, 30_000
FEWEST_EPOCHS, MOST_EPOCHS = 2, 40
# More than fit in any time.
MOST_EPOCHS_IN_TIME = 100_000
# With fewer classes to train on, the network hardly generalises to others: each orientation of a
# drawing then counts as a further class.
FEW_CLASSES = 20
CROP_AND_FLIP = (Spec("crop", typed=False), Spec("flip", typed=False))


def suited(
    recipe: Recipe,
    dataset: Dataset,
    split: Split,
    photographs: bool = False,
    orientations: int | None = None,
    pretrained: bool = False,
) -> Recipe:
    """The recipe with the defaults that depend on the data.

    These are the split, the augmentations, the epochs and, unless passed, the orientations.
    """
    few = not split.closed_set and len(split.classes("train", dataset)) < FEW_CLASSES
    # A finished sampler or loss was made for the classes as they are.
    parts = (recipe.sampler, recipe.loss)
    made = any(isinstance(part, CustomObject) and part.is_finished for part in parts)
    usual_views = 8 if few and dataset.turns_into_classes and not made else 1
    views = usual_views if orientations is None else orientations
    if views > 1 and made:
        raise UsageError("a finished sampler or loss object goes with orientations=1.")
    budget = OF_PHOTOGRAPHS if photographs else OF_DRAWINGS
    budget = OF_PRETRAINED if pretrained else budget
    usual = _usual_epochs(recipe, len(split.train) * views, budget)
    return recipe.but(
        split=split.rule,
        augment=usual_augmentations(recipe, photographs),
        orientations=views,
        epochs=recipe.epochs or usual,
    )


def of_photographs(source: Dataset, images: Images, split: Split) -> bool:
    """Whether a dataset is of photographs, and a turned image is still of the same class."""
    return not source.turns_into_classes and are_photographs(images, split.train)


def usual_augmentations(recipe: Recipe, photographs: bool) -> tuple[Component, ...]:
    """The augmentations of a recipe, by default those that suit the data.

    None where the backbone is frozen throughout and no views are set: each image then is embedded
    once, as it is.
    """
    if recipe.augment is not None:
        return recipe.augment
    if recipe.views is None and frozen_throughout(recipe):
        return ()
    return CROP_AND_FLIP if photographs else ()


def frozen_throughout(recipe: Recipe) -> bool:
    """Whether the backbone of a recipe never learns."""
    if read_rates(recipe.rates)["backbone"] == 0:
        return True
    return recipe.epochs is not None and recipe.freeze >= recipe.epochs


def in_a_line(recipe: Recipe, registry: Registry, shape: tuple[int, ...], photographs: bool) -> str:
    """A line about the training: image size, network, augmentation, optimizer, epochs."""
    names = [step.name if isinstance(step, Spec) else "your own" for step in recipe.augment or ()]
    scale = recipe.train_scale
    parts = (
        *(("photographs",) if photographs else ()),
        f"vectors of {shape[0]}" if len(shape) == 1 else f"{shape[1]} x {shape[2]} pixels",
        f"backbone {recipe.backbone}",
        *(f"adapter {each}" for each in recipe.adapters),
        f"head {recipe.head} to {recipe.dim} dimensions",
        *(("batch norm frozen",) if recipe.batch_norm == "frozen" else ()),
        *((f"rates {recipe.rates}",) if recipe.rates else ()),
        *((f"trained at {scale} of the size",) if scale not in (None, 1) else ()),
        f"augmentation {' and '.join(names) or 'none'}",
        str(_complete(registry, "optimizer", recipe.optimizer)),
        f"{recipe.epochs} epochs" if recipe.epochs != 1 else "1 epoch",
    )
    return f"{', '.join(parts)}."


def _usual_epochs(recipe: Recipe, images: int, budget: int) -> int:
    """The default number of epochs."""
    if recipe.images is not None:
        # An epoch shows each image once or more: these are enough.
        return math.ceil(recipe.images / images)
    if recipe.seconds is not None:
        return MOST_EPOCHS_IN_TIME
    return min(max(math.ceil(budget / images), FEWEST_EPOCHS), MOST_EPOCHS)


def completed(recipe: Recipe, registry: Registry) -> Recipe:
    """The recipe with every default of every component filled in, for the record."""

    changes: dict[str, Any] = {}
    for name, kind, chosen in recipe.components():
        full = _complete(registry, kind, chosen)
        changes[name] = (*changes.get(name, ()), full) if options()[name].several else full
    return recipe.but(**changes, split=recipe.split and complete_split(recipe.split))


def _complete(registry: Registry, kind: str, chosen: Component) -> Component:
    return registry.complete(kind, chosen) if isinstance(chosen, Spec) else chosen


def default_loss(registry: Registry, sampler: Any, chosen: Component) -> Spec:
    """The spec of the loss that a sampler suggests; UsageError with the choices if it does not.

    `chosen` is the sampler as the user chose it. If several distributions have the suggested loss,
    the sampler's own is meant: an unrelated plugin must not shadow it.
    """
    suggested = sampler.default_loss if isinstance(sampler, SuggestingLoss) else None
    if suggested is None:
        names = ", ".join(entry.shown for entry in registry.entries("loss"))
        raise UsageError(f"this sampler suggests no loss; name one with --loss: {names}.")
    if not isinstance(suggested, str):
        actual = type(suggested).__name__
        raise PluginError(f"{name_of(sampler)}: default_loss must be a spec, a str, not {actual}.")
    spec = Spec.parse(suggested)
    owners = {entry.distribution for entry in registry.entries("loss") if entry.name == spec.name}
    if len(owners) > 1 and spec.distribution is None and isinstance(chosen, Spec):
        own = registry.find("sampler", chosen).distribution
        spec = replace(spec, distribution=own if own in owners else OWN)
    try:
        registry.find("loss", spec)
    except UsageError as error:
        raise PluginError(f"{name_of(sampler)} suggests a loss by default_loss: {error}") from error
    return spec


def fitting_losses(registry: Registry, kind: Any) -> str:
    """The names of the losses that take tuples of this kind, but for those that wrap others.

    A loss that fails is skipped.
    """
    fitting = []
    for entry in registry.entries("loss"):
        if entry.family:
            fitting.append(entry.shown)
            continue
        try:
            factory = registry.factory("loss", Spec(entry.name, {}, entry.distribution))
            accepts = accepted_kinds(factory)
        except PluginError:
            continue
        wraps = "build" in asks_of(factory)
        if not wraps and (accepts is None or kind in accepts):
            fitting.append(entry.name)
    return ", ".join(fitting) or "none"
