"""Evaluating a model on a dataset, its own or another, on held-out classes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.embedding_files import bare_dataset, embedding_rows
from metricforge.data.images import fingerprint
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.judging.held_out import (
    ALL,
    WRITTEN,
    Tested,
    is_own,
    open_own_dataset,
    overlap_message,
    own_dataset,
    own_split,
)
from metricforge.judging.protocols import Questions
from metricforge.model import EmbeddingModel, build, load
from metricforge.recipes.components import make_dataset
from metricforge.recipes.dataset_spec import dataset_spec
from metricforge.recipes.recipe import Component, CustomObject
from metricforge.registry import Registry
from metricforge.report.progress import CountLine
from metricforge.runs.run import Run
from metricforge.runtime import Ranks, Runtime, seed_torch
from metricforge.scoring.baselines import TRAINED, before_training
from metricforge.scoring.embed import embed, how_read
from metricforge.scoring.measure import SELECT, Embedded, Measured, measure
from metricforge.spec import Spec

ELSEWHERE = {*WRITTEN, "images"}
"""Options of a dataset that are further paths, which do not apply to a moved dataset."""

Subject = Run | EmbeddingModel | str | Path | Tensor | NDArray[Any]


@dataclass(frozen=True, repr=False)
class Evaluation(Measured):
    """Metrics, and what they were measured on: the dataset, its part, the classes.

    The fields of :class:`Measured` come first.

    Args:
        dataset: Name of the dataset.
        part: "train", "validation", "test" or "all".
        classes: Names of the classes.
        images: Number of images.
        seen: Classes that the model was trained or selected on, if that was allowed.
        closed_set: Whether all classes are training classes, by design.
    """

    dataset: str = ""
    part: str = ALL
    classes: tuple[str, ...] = ()
    images: int = 0
    seen: tuple[str, ...] = ()
    closed_set: bool = False

    def _summary(self) -> Iterator[str]:
        images, classes = f"{self.images:,} images", f"{len(self.classes):,} classes"
        yield f"{self.dataset}, {self.part}: {images} of {classes}"
        yield from super()._summary()

    def to_json(self) -> dict[str, Any]:
        """The evaluation as plain values for JSON."""
        return super().to_json() | {
            "dataset": self.dataset,
            "part": self.part,
            "classes": list(self.classes),
            "images": self.images,
            "seen_classes": list(self.seen),
            "closed_set": self.closed_set,
        }


def evaluate(
    subject: Subject,
    dataset: Any = None,
    *,
    protocols: Sequence[str] | None = None,
    part: str | None = None,
    allow_seen: bool = False,
    baselines: bool = True,
    untrained: bool = False,
    episodes: str | Path | None = None,
    episodes_out: str | Path | None = None,
    cosine: bool = False,
    data_root: str | None = None,
    device: str = "auto",
    registry: Registry | None = None,
    progress: bool = False,
) -> Evaluation:
    """Evaluate a run, a model (or its folder), or bare embeddings, on a dataset.

    Under `torchrun` all ranks embed, and the first alone evaluates; the others return no results.

    Args:
        subject: A run, a model, the folder of one, or embeddings float32 [N, D].
        dataset: A spec, a path or a Dataset. Default: the run's own, whose split also applies to a
            given dataset with the same images and labels. Of a dataset that has changed since, the
            classes that the run held out are tested. For embeddings: their labels [N], or
            :class:`Labels`.
        protocols: Specs of the protocols. Default: retrieval and oneshot.
        part: "train", "validation", "test" or "all". Default: the run's test part on its own
            dataset; on another the official test part, or all of it if it has none.
        allow_seen: Whether to include classes whose names the model was trained or selected on.
        baselines: Whether to evaluate raw pixels as well.
        untrained: Whether to evaluate the network at the start of the run's training as well.
        episodes: File of episodes to answer, by default nothing else.
        episodes_out: New file for the episodes that are drawn.
        cosine: Whether to scale bare embeddings to unit length, so that they are compared by
            cosine.
        data_root: Folder of the datasets. Default: that of the run's recipe.
        device: "auto", "cpu", "cuda" or "mps".
        registry: Registry of components. Default: what is installed.
        progress: Whether to print how many images are embedded.

    Returns:
        The metrics of the model and of its baselines.

    Raises:
        DataError: The model has seen the classes, or there are too few of them.
        MetricForgeError: As `load` and plugins raise.
    """
    registry = registry or Registry.installed()

    def questions(made: Dataset) -> Questions:
        return Questions.of(made, protocols, episodes, episodes_out, registry)

    table: Any = subject
    if hasattr(table, "to_numpy"):  # of pandas or polars
        subject = table.to_numpy()
    if isinstance(subject, Tensor | np.ndarray | list | tuple):
        subject = embedding_rows(subject)
        if part or allow_seen or untrained:
            raise UsageError("part, allow_seen and untrained are for models, not for embeddings.")
        if Runtime.resolve(device).device.type == "cuda":
            torch.cuda.init()
        return _of_arrays(subject, questions(bare_dataset(subject, dataset)), cosine)
    run = _run_of(subject)
    model = (
        subject if isinstance(subject, EmbeddingModel) else load_model(subject, device, registry)
    )
    tested = _tested(model, run, dataset, part, allow_seen, data_root, registry)
    overlap = tested.overlap_with(model)
    if overlap and not (tested.closed_set and tested.name == "test") and not allow_seen:
        raise DataError(overlap_message(overlap, tested.dataset, model))
    requested = questions(tested.dataset)
    models = {TRAINED: model}
    if untrained:
        name, before = _before_training(model, run, registry)
        models[name] = before
    asked = requested.dataset
    asked = asked if tested.shape is None else replace(asked, shape=tested.shape)
    validating = tested.validation if requested.want_validation else None
    total = (len(tested.indices) + len(validating if validating is not None else ())) * len(models)
    total = -(-total // Ranks.current().count)  # of which each rank embeds its part
    first = Ranks.current().first
    with CountLine("images", total) if progress and first else nullcontext() as done:
        embeddings = embed(models, asked, tested.indices, baselines, done)
        validation = None
        if validating is not None:
            validation = embed(models, asked, validating, baselines, done)
    if not Ranks.current().first:
        return Evaluation({})
    select = run.recipe.select if run else SELECT
    measured = measure(embeddings, requested.protocols, requested.dataset, validation, select)
    requested.keep(measured)
    if run is not None and tested.split_hash and tested.name == "test":
        record = {"part": "test", "split_hash": tested.split_hash, "by": "evaluate"}
        if tested.split is None:  # the dataset has changed since
            record["dataset_fingerprint"] = fingerprint(tested.dataset)
        of_model = measured.to_json()["results"][TRAINED]
        metrics = {"protocols": list(requested.protocols), "results": of_model}
        run.folder.append(run.folder.evaluations, record | metrics)
    notes = (
        *tested.notes,
        *how_read(requested.dataset, model),
        *requested.dataset.warnings,
        *measured.notes,
    )
    return Evaluation(
        **vars(measured) | {"notes": notes},
        dataset=tested.dataset.name,
        part=tested.name,
        classes=tested.classes,
        images=len(tested.indices),
        seen=overlap,
        closed_set=tested.closed_set,
    )


def _of_arrays(embeddings: NDArray[Any], questions: Questions, cosine: bool) -> Evaluation:
    if not Ranks.current().first:
        return Evaluation({})
    # A copy, since torch warns of an array that is a read-only map of a file.
    rows = torch.from_numpy(np.array(embeddings, dtype=np.float32))
    rows = F.normalize(rows, dim=1) if cosine else rows
    part = Embedded({TRAINED: rows}, torch.arange(len(rows)))
    measured = measure(part, questions.protocols, questions.dataset)
    questions.keep(measured)
    name, classes = questions.dataset.name, questions.dataset.classes
    return Evaluation(**vars(measured), dataset=name, classes=classes, images=len(rows))


def _tested(
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
        alike = _as_trained(run, component, registry, root) if run else None
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
    return replace(Tested.of(made, own_split(run, made), part), notes=tuple(_cache_note(run)))


def _cache_note(run: Run) -> Iterator[str]:
    """A note on a cache that is not used: a run may be a stranger's, which writes nothing here."""
    dataset = run.recipe.dataset
    if isinstance(dataset, Spec) and dataset.options.get("cache", "none") != "none":
        yield f"the cache of the run's dataset is not used; --dataset '{dataset}' uses it."


def _known(run: Run, dataset: Dataset, part: str | None, allow_seen: bool) -> Tested | None:
    """The part of a run's own dataset, as it was or as it is now; None for another dataset."""
    if is_own(run, dataset):
        return Tested.of(dataset, own_split(run, dataset), part)
    of_held_out = part in (None, "test") and not allow_seen
    return Tested.changed(dataset, run) if of_held_out else None


def _shape_for(
    model: EmbeddingModel, dataset: Dataset, component: Component
) -> tuple[int, int, int] | None:
    """The shape to decode files to: the model's, unless the user named a size.

    At the dataset's default size they would lose what a larger model takes. None: the dataset's.
    """
    named = component.options if isinstance(component, Spec) else {"size": ""}
    if isinstance(dataset.images, Tensor) or {"size", "color"} & {*named}:
        return None
    return model.card.shape


def _as_trained(
    run: Run, component: Component, registry: Registry, data_root: str
) -> Dataset | None:
    """A dataset of the run's own kind, with the other options of its training, e.g. the size.

    None if the run has no others.
    """
    if isinstance(component, CustomObject) or isinstance(run.recipe.dataset, CustomObject):
        return None
    own = own_dataset(run)
    inherited = {key: value for key, value in own.options.items() if key not in ELSEWHERE}
    options = {**inherited, **component.options}
    if component.name != own.name or options == component.options:
        return None
    return make_dataset(registry, replace(component, options=options), data_root)


def _before_training(
    model: EmbeddingModel, run: Run | None, registry: Registry
) -> tuple[str, EmbeddingModel]:
    """The network at the start of a run's training, and the name of its row."""
    if run is None:
        raise UsageError("no run says what this model began with: leave out --untrained.")
    recipe, card = run.recipe, model.card
    if isinstance(recipe.backbone, CustomObject) or isinstance(recipe.head, CustomObject):
        raise UsageError("a network of your own can't be built anew: leave out --untrained.")
    seed_torch(recipe.seed)
    # By the recipe: the card's backbone lacks the option for its initial weights.
    card = replace(card, backbone=str(recipe.backbone), head=str(recipe.head))
    bare = build(registry, card, None, None)
    name, bare = before_training(bare, bare.state_dict(), is_custom=False)
    return name, bare.to(next(model.parameters()).device).eval()


def _run_of(subject: Subject) -> Run | None:
    if isinstance(subject, Run):
        return subject
    if isinstance(subject, str | Path) and (Path(subject) / "config.toml").is_file():
        return Run.open(subject)
    return None


def load_model(subject: Subject, device: str, registry: Registry) -> EmbeddingModel:
    """The model of a run or in a folder; ArtefactError if there is none (yet)."""
    path = subject.path if isinstance(subject, Run) else Path(str(subject))
    if not path.exists():
        raise ArtefactError(f"{path} does not exist: give the folder of a run or of a model.")
    if (path / "config.toml").is_file() and not (path / "model").is_dir():
        raise ArtefactError(
            f"{path} has no model yet: its training has not ended; resume it with "
            f"metricforge train --resume {shlex.quote(str(path))}."
        )
    return load(path, device=device, registry=registry)
