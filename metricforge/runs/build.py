"""From a recipe to finished objects: the only module that puts a training together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from metricforge.contracts import (
    Dataset,
    EvaluationProtocol,
    Parameters,
    Reducing,
    Schedule,
    Scheduled,
)
from metricforge.data.images import Images, fingerprint, open_images
from metricforge.data.orientations import Oriented, oriented_labels
from metricforge.data.split import Split, left_out, split_dataset
from metricforge.enforcement import check_fit, check_miner, patience_of, sentences
from metricforge.errors import UsageError
from metricforge.model import EmbeddingModel
from metricforge.model_card import offers_of
from metricforge.plugin_errors import blaming
from metricforge.recipes.augmentation import chained, requested_orientations
from metricforge.recipes.components import (
    build_model,
    check_takes,
    component,
    make_dataset,
    make_protocol,
)
from metricforge.recipes.custom_object import Component, CustomObject
from metricforge.recipes.dataset_spec import located
from metricforge.recipes.defaults import (
    completed,
    default_loss,
    fitting_losses,
    in_a_line,
    of_photographs,
    suited,
    usual_augmentations,
)
from metricforge.recipes.pretrained import with_network_defaults, with_vector_defaults
from metricforge.recipes.recipe import Recipe
from metricforge.recipes.starting_weights import StartingWeights
from metricforge.registry import Registry
from metricforge.runs.backbone_features import BackboneFeatures
from metricforge.runtime import Runtime, keep_large_blocks, seed_torch
from metricforge.runtime.normalization import norms, share_statistics
from metricforge.scoring.apply import labelled_part, rehearse
from metricforge.scoring.measure import lower_is_better
from metricforge.scoring.validation import Selection
from metricforge.training.ema import averaged
from metricforge.training.mining import margin_of
from metricforge.training.optimizer import make_optimizer, parts_of, read_rates
from metricforge.training.setup import TrainingSetup
from metricforge.weights.adapting import rates_of

REHEARSED_IMAGES = 5_000


@dataclass(frozen=True)
class Assembly:
    """A recipe with everything resolved and built, ready to train.

    `initial` are its weights; `defaults` lists in a line the defaults that suit these images;
    `inputs` are what the model is tested on, the images or the features of a frozen backbone;
    `weights` has the sha256 of those that a part starts from, by part.
    """

    recipe: Recipe
    dataset: Dataset
    images: Images
    inputs: Images
    fingerprint: str
    split: Split
    setup: TrainingSetup
    initial: Mapping[str, Tensor]
    protocols: Mapping[str, EvaluationProtocol]
    runtime: Runtime
    defaults: str
    notes: tuple[str, ...]
    weights: Mapping[str, str]


@dataclass(frozen=True)
class _Source:
    """The training data: the dataset, its images on the device, its split."""

    dataset: Dataset
    images: Images
    split: Split


def assemble(recipe: Recipe, registry: Registry) -> Assembly:
    """Everything that `recipe` names, built and checked before any training.

    Raises UsageError for names, options and components that don't fit each other, DataError for
    images and splits, PluginError for plugins.
    """
    recipe = located(recipe, registry)
    keep_large_blocks()
    runtime = Runtime.resolve(recipe.device, recipe.precision, recipe.channels_last, recipe.chunk)
    given = recipe
    recipe, pretrained = with_network_defaults(given, registry)
    protocols = {str(spec): make_protocol(registry, spec) for spec in recipe.protocols}
    source = _open(recipe, registry, runtime)
    if source.dataset.of_vectors:
        recipe, pretrained = with_vector_defaults(given, source.images.shape[0]), True
    rates = read_rates(recipe.rates)
    photographs = of_photographs(source.dataset, source.images, source.split)
    augment = usual_augmentations(recipe, photographs)
    steps = _augmentations(augment, registry, source.images.shape)
    views = requested_orientations(recipe, steps)
    recipe = suited(recipe, source.dataset, source.split, photographs, views, pretrained)
    train, labels, groups = train_set(source.dataset, source.split, recipe.orientations or 1)
    offers = {"labels": labels, "groups": groups}
    sampler = component(registry, "sampler", recipe.sampler, offers)
    if recipe.miner is None:
        check_miner(sampler, getattr(sampler, "miner", None))
    recipe = recipe.but(loss=recipe.loss or default_loss(registry, sampler, recipe.sampler))
    seed_torch(recipe.seed)
    start = StartingWeights()
    model = build_model(recipe, registry, source.dataset, source.split, source.images, start)
    loss, miner = _comparison(recipe, registry, sampler, int(labels.max()) + 1)
    _to_device(model, loss, runtime)
    augmentation = chained(steps, recipe.seed, source.images, source.split.train)
    backbone = BackboneFeatures(
        recipe, registry, source.dataset, source.images, source.split.train, model, runtime
    )
    features = backbone.of_frozen(augmentation)
    backbone.initialize_head(features)
    schedule = component(registry, "schedule", recipe.schedule, {})
    inputs = features or source.images
    selection = _selection(recipe, registry, source, inputs, runtime, schedule)
    selection.rehearse()
    _rehearse(protocols, source)
    setup = TrainingSetup(
        model=model,
        loss=loss,
        sampler=sampler,
        miner=miner,
        images=features or Oriented(source.images, recipe.orientations or 1),
        train=train,
        labels=labels,
        optimizer=make_optimizer(
            _optimizer(recipe, registry),
            parts_of(model, loss),
            rates,
            rates_of(model.backbone, model.adapters),
        ),
        schedule=schedule,
        validate=selection,
        epochs=recipe.epochs or 1,
        seed=recipe.seed,
        images_budget=recipe.images,
        seconds_budget=recipe.seconds,
        views=recipe.orientations or 1,
        # A miner that the user names is that of every step.
        miner_at=sampler.miner_at if isinstance(sampler, Scheduled) and not recipe.miner else None,
        replaced=bool(recipe.miner),
        augment=None if features else augmentation,
        accumulate=recipe.accumulate,
        clip=recipe.clip,
        average=None if recipe.ema is None else averaged(model, recipe.ema),
        frozen=recipe.freeze if rates["backbone"] else recipe.epochs or 1,
        frozen_norms=recipe.batch_norm == "frozen",
        patience=recipe.patience,
        lower_is_better=lower_is_better(recipe.select),
        scaler=runtime.scaler(),
    )
    if recipe.compile:
        # In place, so that its weights keep their names.
        model.compile()
    return Assembly(
        recipe=completed(recipe, registry),
        dataset=source.dataset,
        images=source.images,
        # What is tested is the network as it is saved: uncut, and in float32.
        inputs=inputs if model.cut is None and runtime.precision == "fp32" else source.images,
        fingerprint=fingerprint(source.dataset),
        split=source.split,
        setup=setup,
        initial=copy.deepcopy(model.state_dict()),
        protocols=protocols,
        runtime=runtime,
        defaults=in_a_line(recipe, registry, source.images.shape, photographs),
        notes=(
            *source.dataset.notes,
            *source.dataset.warnings,
            *left_out(source.split, source.dataset),
            *start.notes,
            *backbone.notes(augmentation),
            *_notes(setup, runtime, recipe.freeze),
            *selection.notes,
        ),
        weights=start.hashes,
    )


def _open(recipe: Recipe, registry: Registry, runtime: Runtime) -> _Source:
    assert not isinstance(recipe.dataset, str), "it is located"
    dataset = make_dataset(registry, recipe.dataset, recipe.data_root)
    split = split_dataset(dataset, recipe.split)
    images = open_images(dataset, workers=recipe.workers)
    return _Source(dataset, images.to(runtime.device) if images.in_memory else images, split)


def train_set(dataset: Dataset, split: Split, views: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Indices, labels 0 .. C-1 and groups of the images to train on, in all orientations."""
    train = split.train
    labels = dataset.labels[train].unique(return_inverse=True)[1]
    groups = None if dataset.groups is None else oriented_labels(dataset.groups[train], views)
    return oriented_labels(train, views), oriented_labels(labels, views), groups


def _augmentations(
    chosen: tuple[Component, ...], registry: Registry, shape: tuple[int, ...]
) -> tuple[Any, ...]:
    steps = tuple(component(registry, "augmentation", each, offers_of(shape)) for each in chosen)
    for each, step in zip(chosen, steps, strict=True):
        check_takes("augmentation", str(each), step, shape)
    return steps


def _comparison(recipe: Recipe, registry: Registry, sampler: Any, classes: int) -> tuple[Any, Any]:
    """The loss and the miner, which must fit each other."""
    assert recipe.loss is not None, "the sampler has suggested one"
    loss = component(registry, "loss", recipe.loss, {"dim": recipe.dim, "num_classes": classes})
    miner: Any = getattr(sampler, "miner", None)
    if recipe.miner:
        miner = component(registry, "miner", recipe.miner, {"margin": margin_of(loss)})
    check_miner(sampler, miner)
    names = (str(recipe.miner) if recipe.miner else f"of {recipe.sampler}", str(recipe.loss))
    check_fit(miner, loss, lambda: fitting_losses(registry, miner.kind), names)
    return loss, miner


def _to_device(model: EmbeddingModel, loss: Any, runtime: Runtime) -> None:
    """Model and loss on the device; batch norm shares its statistics where ranks share batches."""
    runtime.place(model)
    if isinstance(loss, nn.Module):
        loss.to(runtime.device)
    if runtime.ranks.count > 1:
        model.backbone = share_statistics(model.backbone)
        model.head = share_statistics(model.head)


def _optimizer(recipe: Recipe, registry: Registry) -> Callable[[Parameters], Optimizer]:
    chosen = recipe.optimizer
    if isinstance(chosen, CustomObject) and chosen.is_finished:
        raise UsageError(
            f"optimizer takes a class or a functools.partial, not {chosen}: it is built for the "
            "parameters of the network."
        )

    def build(groups: Parameters) -> Optimizer:
        # The registry blames the component of a spec, but not a class of the user's.
        with blaming(chosen.value) if isinstance(chosen, CustomObject) else nullcontext():
            made: Optimizer = component(registry, "optimizer", chosen, {"params": groups})
            return made

    return build


def _selection(
    recipe: Recipe,
    registry: Registry,
    source: _Source,
    inputs: Images,
    runtime: Runtime,
    schedule: Schedule,
) -> Selection:
    protocol = make_protocol(registry, recipe.validation)
    reduces = isinstance(schedule, Reducing)
    needed_by = (
        f"the schedule {recipe.schedule}" if reduces else "patience" if recipe.patience else ""
    )
    dataset, split, views = source.dataset, source.split, recipe.orientations or 1
    selection = Selection.of(protocol, recipe.select, dataset, split, inputs, runtime, views)
    if needed_by and not len(selection.indices):
        count = len(dataset.labels[split.validation].unique())
        raise UsageError(f"{needed_by} needs two validation classes, and this split has {count}.")
    return selection


def _notes(setup: TrainingSetup, runtime: Runtime, freeze: int) -> tuple[str, ...]:
    views, chunk, has_norms = setup.views, runtime.chunk, bool(norms(setup.model))
    turned = f"each class is shown in {views} orientations, which count as {views} classes."
    by_chunk = (
        f"of a batch of more than {chunk} images batch norm goes by the chunk, not by the whole; "
        "--batch-norm frozen goes by neither."
    )
    without_norms = "the network has no batch norm: --batch-norm frozen changes nothing."
    halved = "on a CPU fp16 is slower than fp32 where it has no instructions for it; try bf16."
    # The first epoch always improves, and after the last one a lower rate has no effect.
    waits = patience_of(setup.schedule) + 2 if isinstance(setup.schedule, Reducing) else 0
    level = f"the rate never falls: it may after {waits - 1} epochs, and there are {setup.epochs}."
    frozen = f"the backbone never trains: it is frozen in all {setup.epochs} epochs."
    notes = {
        turned: views > 1,
        by_chunk: chunk is not None and has_norms and not setup.frozen_norms,
        without_norms: setup.frozen_norms and not has_norms,
        halved: runtime.precision == "fp16" and runtime.device.type == "cpu",
        frozen: freeze > 0 and setup.frozen >= setup.epochs,
        level: setup.epochs < waits,
    }
    return (*(note for note, holds in notes.items() if holds), *sentences(setup.sampler))


def _rehearse(protocols: Mapping[str, EvaluationProtocol], source: _Source) -> None:
    """Refuse now a protocol that needs more classes, or images of each, than the test part has.

    Only the labels of the test part are read; a large one is not checked.
    """
    test = source.split.test
    if len(test) <= REHEARSED_IMAGES:
        for protocol in protocols.values():
            rehearse(protocol, labelled_part(source.dataset, test))
