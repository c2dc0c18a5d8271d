"""The contract of a dataset: images, labels and names that agree, the same each time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import TEST, Dataset, Reading
from metricforge.data.images import fingerprint, is_of_inputs, open_images
from metricforge.errors import MetricForgeError
from metricforge.testing.checks import Broken, Skipped, checks
from metricforge.testing.dataset.index_checks import check_index, check_names, shape_of
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject

DECODED = 8  # files of a dataset that are opened


@dataclass(frozen=True)
class Built:
    """A dataset, the seconds it took, and the error if it used a global generator."""

    dataset: Any
    seconds: float
    drew: str


def built(subject: Subject, seed: int) -> Built:
    """The dataset as built under a global seed; cached, because a large one takes seconds."""
    if seed not in subject.cache:
        set_globals(seed)
        began, drew = time.perf_counter(), ""
        try:
            with untouched("building"):
                dataset = subject.build()
        except Broken as error:
            drew = str(error)
        subject.cache[seed] = Built(dataset, time.perf_counter() - began, drew)
    made: Built = subject.cache[seed]
    return made


def builds(subject: Subject) -> None:
    """It is built from a root and its options."""
    built(subject, seed=1)


def is_a_dataset(subject: Subject) -> None:
    """It is a contracts.Dataset with a name, images, and notes that are sentences."""
    dataset = built(subject, seed=1).dataset
    if not isinstance(dataset, Dataset):
        raise Broken(f"is a {type(dataset).__name__}; return a metricforge.contracts.Dataset.")
    if not isinstance(dataset.name, str) or not dataset.name:
        raise Broken(f"has the name {dataset.name!r}; give a word.")
    if len(dataset) == 0:
        raise Broken("has no images; say in a DataError what is missing.")
    if isinstance(dataset.notes, str) or not all(isinstance(note, str) for note in dataset.notes):
        raise Broken(f"has the notes {dataset.notes!r}; give a tuple of sentences.")


def images_have_the_shape(subject: Subject) -> None:
    """Images agree with `shape`: uint8 [N, C, H, W], float [N, V] or N Paths that decode."""
    dataset = _dataset(subject)
    shape = shape_of(dataset)
    if not isinstance(dataset.reading, Reading):
        raise Broken(f"has the reading {dataset.reading!r}; give a metricforge.contracts.Reading.")
    if isinstance(dataset.images, Tensor):
        expected = (len(dataset), *shape)
        if not is_of_inputs(dataset.images) or tuple(dataset.images.shape) != expected:
            raise Broken(
                f"has images {dataset.images.dtype} {list(dataset.images.shape)} and a shape that "
                f"requires {'float' if dataset.of_vectors else 'uint8'} {list(expected)}."
            )
        if dataset.of_vectors and not bool(dataset.images.isfinite().all()):
            raise Broken("has vectors with numbers that are NaN or infinite.")
        return
    if dataset.of_vectors:
        raise Broken("has the shape of vectors and files; give one tensor [N, V].")
    sample = _few(dataset)
    try:
        decoded = open_images(sample).take(torch.arange(len(sample)))
    except MetricForgeError as error:
        raise Broken(f"has files that can't be read: {error}") from error
    if tuple(decoded.shape[1:]) != tuple(dataset.shape):
        raise Broken(f"has files that decode to {list(decoded.shape[1:])}, not {dataset.shape}.")


def labels_index_the_classes(subject: Subject) -> None:
    """Labels are int64 [N] from 0 to C - 1."""
    dataset = _dataset(subject)
    check_index(dataset.labels, "labels", len(dataset), len(dataset.classes), "classes")


def class_names_are_unique(subject: Subject) -> None:
    """Class names are a tuple of different, non-empty strings."""
    dataset = _dataset(subject)
    check_names(dataset.classes, "classes")


def groups_agree(subject: Subject) -> None:
    """Groups are absent, or int64 [N] that index the different names in `group_names`."""
    dataset = _dataset(subject)
    if dataset.groups is None:
        if dataset.group_names:
            raise Broken("has group_names and no groups; give both or neither.")
        raise Skipped("it has no groups.")
    check_names(dataset.group_names, "group_names")
    check_index(dataset.groups, "groups", len(dataset), len(dataset.group_names), "group_names")


def official_split_is_coded(subject: Subject) -> str | None:
    """The official split is absent, or int64 [N] of TRAIN, VALIDATION and TEST (0, 1, 2)."""
    dataset = _dataset(subject)
    if dataset.official is None:
        raise Skipped("it has no official split.")
    check_index(dataset.official, "official", len(dataset), TEST + 1, "TRAIN, VALIDATION, TEST")
    parts = dataset.official.unique()
    return "all images are in one part of the official split." if len(parts) < 2 else None


def made_classes_are_made_of_others(subject: Subject) -> None:
    """Each class that is said to be made of others is, and of none that is made itself."""
    dataset = _dataset(subject)
    if not dataset.made_of:
        raise Skipped("no class is made of others.")
    for made, sources in dataset.made_of.items():
        if not sources or not {made, *sources} <= set(range(len(dataset.classes))):
            raise Broken(f"has made_of[{made!r}] = {sources!r}; give indices of classes.")
        if both := [source for source in sources if source in dataset.made_of]:
            raise Broken(f"has class {made} made of {both[0]}, which is made itself.")


def same_each_time(subject: Subject) -> None:
    """Built twice, under any global seeds, it has the same fingerprint."""
    first, second = (fingerprint(built(subject, seed).dataset) for seed in (1, 2))
    if first != second:
        raise Broken(
            "was another dataset when built again; sort what the file system lists, and draw "
            "from a generator of its own with a fixed seed."
        )


def global_generators_stay(subject: Subject) -> None:
    """Building it leaves the generators of python, numpy and torch alone."""
    drew = built(subject, seed=1).drew or built(subject, seed=2).drew
    if drew:
        raise Broken(drew)


def images_differ(subject: Subject) -> None:
    """Its images are not all alike."""
    sample = _few(_dataset(subject), 64)
    images = open_images(sample).take(torch.arange(len(sample)))
    if len(sample) > 1 and bool((images == images[:1]).all()):
        raise Broken("has the same image everywhere; are the files decoded, or scaled to 0..255?")


def classes_can_be_compared(subject: Subject) -> str | None:
    """There are two classes or more, and each has two images or more."""
    dataset = _dataset(subject)
    counts = dataset.labels.bincount(minlength=len(dataset.classes))
    if int((counts > 0).sum()) < 2:
        raise Broken("has images of one class only; comparing needs two.")
    single, empty = int((counts == 1).sum()), int((counts == 0).sum())
    notes = []
    if single:
        notes.append(f"{single} classes have one image")
    if empty:
        notes.append(f"{empty} classes have none")
    return f"of {len(counts)} classes, {' and '.join(notes)}." if notes else None


def growth(subject: Subject) -> str:
    """How long it takes to build, and the memory that its images need."""
    dataset = _dataset(subject)
    seconds = min(built(subject, seed).seconds for seed in (1, 2))
    held = dataset.images.nbytes / 2**20 if isinstance(dataset.images, Tensor) else 0.0
    where = f"{held:.1f} MB of images" if held else "images in files"
    each = seconds / len(dataset) * 1e6
    return f"{len(dataset):,} images in {seconds:.2f} s ({each:,.0f} us an image), {where}"


def _dataset(subject: Subject) -> Dataset:
    dataset: Dataset = built(subject, seed=1).dataset
    return dataset


def _few(dataset: Dataset, count: int = DECODED) -> Dataset:
    """The dataset with a few of its images, spread over all."""
    indices = torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).long()
    if isinstance(dataset.images, Tensor):
        images: Tensor | list[Any] = dataset.images[indices]
    else:
        images = [dataset.images[index] for index in indices.tolist()]
    labels, reading = dataset.labels[indices], dataset.reading
    return Dataset(dataset.name, images, labels, dataset.classes, dataset.shape, reading=reading)


DATASET_CHECKS = checks(
    builds,
    is_a_dataset,
    images_have_the_shape,
    labels_index_the_classes,
    class_names_are_unique,
    groups_agree,
    official_split_is_coded,
    made_classes_are_made_of_others,
    same_each_time,
    global_generators_stay,
    images_differ,
    classes_can_be_compared,
    growth,
    first=4,
)
