"""Enrolling classes with the model of a run, whose validation classes choose the threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metricforge.contracts import Dataset
from metricforge.data.class_names import seen_among
from metricforge.errors import DataError, UsageError, few
from metricforge.evaluation import Cohort
from metricforge.galleries.calibration import Strangers, refuse_too_few
from metricforge.galleries.embedded import Embedded, embed_dataset, embed_images
from metricforge.galleries.gallery import Gallery
from metricforge.judging.own_dataset import open_own_dataset, own_split
from metricforge.judging.part_choice import tested_part
from metricforge.judging.subject import Subject, load_model, run_of
from metricforge.model import EmbeddingModel
from metricforge.recipes.components import make_dataset
from metricforge.recipes.dataset_spec import dataset_spec
from metricforge.recipes.pretrained import at_size
from metricforge.registry import Registry
from metricforge.report.progress import count_line
from metricforge.runs.run import Run

MOST_OF_COHORT = 2_000
"""Training images that normalise distances."""


def enrol(
    subject: Subject,
    images: Any,
    labels: Sequence[str] | None = None,
    *,
    part: str | None = None,
    normalise: bool = True,
    false_alarms: float | None = None,
    validation: Any = None,
    data_root: str | None = None,
    device: str = "auto",
    registry: Registry | None = None,
    progress: bool = False,
) -> Gallery:
    """Enrol the classes of some images, so that others can be identified as one of them, or not.

    The threshold is chosen so that images of strangers, which are of none of these classes, are
    identified as somebody with at most the probability `false_alarms`. It is chosen on classes that
    the model was not trained on: those that selected the epoch of its run.

    Args:
        subject: A run, its folder, or a model.
        images: A dataset: a folder with a folder for each class, an archive, a CSV, a spec or a
            Dataset. Or, with `labels`, images as `encode` takes them.
        labels: The class of each image.
        part: "train", "validation" or "test", by the split of the run if it is the run's dataset,
            else by its own. Default: all images.
        normalise: Whether distances to training images of the run may normalise those to the
            classes, if more images are recognised then (score normalisation).
        false_alarms: 0 to 1. Default: the lowest of 1, 2, 5, 10 and 20 % that the validation
            classes can promise.
        validation: A dataset of other classes to choose the threshold on. Default: the validation
            classes of the run.
        data_root: Folder of the run's dataset. Default: that of its recipe.
        device: "auto", "cpu", "cuda" or "mps".
        registry: Registry of components. Default: what is installed.
        progress: Whether to print how many images are embedded.

    Returns:
        The gallery.

    Raises:
        DataError: There are too few validation classes to promise that, or no images.
    """
    if labels is not None and part is not None:
        raise UsageError("a part is of a dataset: leave the labels out, or the part.")
    registry = registry or Registry.installed()
    run = run_of(subject)
    model = load_model(subject, device, registry)
    # Both are opened before either is embedded.
    dataset, chosen = None, None
    if labels is None and part is None:
        dataset = _opened(images, model, registry)
    elif labels is None:
        tested = tested_part(model, run, images, part, True, data_root, registry)
        dataset, chosen = tested.decoded, tested.indices
    others, indices = _validation(model, run, validation, data_root, registry)
    named = [] if labels is None else list(labels)
    _refuse_unfit(
        named if dataset is None else _classes(dataset, chosen),
        _classes(others, indices),
        false_alarms,
    )
    if dataset is not None:
        enrolled = _embedded(model, dataset, chosen, progress)
    else:
        enrolled = embed_images(model, images, named)
    strangers = _embedded(model, others, indices, progress)
    of_class = np.unique(np.array(strangers.classes, dtype=object), return_inverse=True)[1]
    cohort = None
    if normalise and run is not None and validation is None:
        cohort = Cohort(_embedded(model, others, some_of_training(run, others), progress).rows)
    _refuse_copies(enrolled, strangers)
    known = Strangers(strangers.rows, of_class.astype(np.int64), cohort)
    gallery = Gallery.of(model, enrolled, known, false_alarms)
    if dataset is not None:
        gallery.notes = (*dataset.notes, *dataset.warnings)
    return gallery


def _opened(
    what: Any, model: EmbeddingModel, registry: Registry, data_root: str | None = None
) -> Dataset:
    """The dataset of a path, a spec or an object; files in the size that the model takes."""
    if isinstance(what, Dataset):
        return what
    if not isinstance(what, str | Path):
        raise UsageError("name a dataset, or give the labels of the images as well.")
    _, *sides = model.card.shape
    size = (sides[0], sides[1]) if sides else None
    named = at_size(dataset_spec(str(what), registry), size, registry)
    assert not isinstance(named, str)
    return make_dataset(registry, named, data_root or "data")


def _validation(
    model: EmbeddingModel,
    run: Run | None,
    validation: Any,
    data_root: str | None,
    registry: Registry,
) -> tuple[Dataset, torch.Tensor | None]:
    """A dataset of validation classes, and which of its images: by default those of the run."""
    if validation is not None:
        dataset = _opened(validation, model, registry, data_root)
        _refuse_trained(model, run, dataset)
        return dataset, None
    if run is None:
        raise UsageError(
            "no run says which validation classes this model has: name a dataset of other classes "
            "to choose the threshold on (validation)."
        )
    try:
        dataset = open_own_dataset(run, registry, data_root)
    except DataError as error:
        raise DataError(
            f"the threshold is chosen on the validation classes of {run.path}, whose dataset can't "
            f"be opened: {error} Name a dataset of other classes instead (validation)."
        ) from error
    split = own_split(run, dataset)
    if split.closed_set or not len(split.validation):
        raise DataError(
            f"{run.path} held out no validation classes, on which the threshold could be chosen: "
            "name a dataset of other classes (validation)."
        )
    return dataset, split.validation


def _refuse_unfit(enrolled: Sequence[str], strangers: Sequence[str], share: float | None) -> None:
    """DataError where the classes of images say, before these are embedded, that it can't be.

    Strangers, who choose the threshold, are enrolled, or too few to promise a share of them.
    """
    if both := sorted({*enrolled} & {*strangers}):
        raise _enrolled(f"classes of these names ({few(both)})")
    if enrolled:
        of_class = np.unique(np.array(strangers, dtype=object), return_inverse=True)[1]
        refuse_too_few(of_class, [*Counter(enrolled).values()], share)


def _refuse_copies(enrolled: Embedded, strangers: Embedded) -> None:
    """DataError where an image of strangers, who choose the threshold, is enrolled."""
    if copies := {*enrolled.hashes} & {*strangers.hashes}:
        raise _enrolled(f"{len(copies)} of these images")


def _enrolled(what: str) -> DataError:
    return DataError(
        f"the threshold would be chosen on {what}, which are to be enrolled: strangers are of "
        "other classes; name a dataset of others (validation)."
    )


def _classes(dataset: Dataset, indices: torch.Tensor | None) -> list[str]:
    """The class of each image."""
    labels = dataset.labels if indices is None else dataset.labels[indices]
    return [dataset.classes[label] for label in labels]


def some_of_training(run: Run, dataset: Dataset) -> torch.Tensor:
    """Some training images, evenly among the classes."""
    train = own_split(run, dataset).train
    ordered = train[torch.argsort(dataset.labels[train], stable=True)]
    return ordered[:: -(-len(ordered) // MOST_OF_COHORT)]


def _embedded(
    model: EmbeddingModel, dataset: Dataset, indices: torch.Tensor | None, progress: bool
) -> Embedded:
    count = len(dataset) if indices is None else len(indices)
    with count_line("images", count, progress) as done:
        return embed_dataset(model, dataset, indices, done)


def _refuse_trained(model: EmbeddingModel, run: Run | None, dataset: Dataset) -> None:
    """DataError for validation classes that the model was trained on."""
    trained = run.folder.split.parts.train.classes if run else model.card.seen_classes
    if seen := seen_among(dataset.classes, trained):
        raise DataError(
            f"{len(seen)} classes of '{dataset.name}' have names that the model was trained"
            f"{'' if run else ' or selected'} on: {few(seen, 8)}; what keeps them apart says "
            "nothing of strangers: name a dataset of other classes"
            f"{'.' if run else ', or give the run, whose validation classes are known.'}"
        )


def notes_on(gallery: Gallery) -> Iterator[str]:
    """What a user of a gallery should know of its images."""
    yield from gallery.notes
    chosen = gallery.calibration
    if chosen.tried < chosen.images:
        yield (
            f"a class has {chosen.images:,} images, and the trials enrolled {chosen.tried:,} at "
            "most, for validation classes have no more: the promise is for classes of so many."
        )
    seen = seen_among(gallery.classes, gallery.model.card.seen_classes)
    if seen:
        yield (
            f"the model was trained or selected on {len(seen)} of these classes ({few(seen)}): "
            "the promise is for classes that are new to it."
        )
    for image, names in gallery.shared_images().items():
        yield f"{image} is enrolled as {' and as '.join(names)}: remove one of them."
