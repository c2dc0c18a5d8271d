"""What a dataset must hold to: images, labels and names that agree, the same each time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import TEST, Dataset, Reading
from metricforge.data.images import fingerprint, open_images
from metricforge.errors import MetricForgeError
from metricforge.testing.checks import Broken, Skipped, checks
from metricforge.testing.dataset.index_checks import check_index, check_names, shape_of
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject

DECODED = 8  # files of a dataset that are opened


@dataclass(frozen=True)
class Built:
    """A dataset, the seconds it took, and what it did to a global generator, if it did."""

    found: Any
    seconds: float
    drew: str


def built(subject: Subject, seed: int) -> Built:
    """The dataset as it is built under a global seed; kept, since a large one takes seconds."""
    if seed not in subject.kept:
        set_globals(seed)
        began, drew = time.perf_counter(), ""
        try:
            with untouched("building"):
                found = subject.build()
        except Broken as error:
            drew = str(error)
        subject.kept[seed] = Built(found, time.perf_counter() - began, drew)
    made: Built = subject.kept[seed]
    return made


def builds(subject: Subject) -> None:
    """It is built from a root and its options."""
    built(subject, seed=1)


def is_a_dataset(subject: Subject) -> None:
    """It is a contracts.Dataset with a name, images, and notes that are sentences."""
    found = built(subject, seed=1).found
    if not isinstance(found, Dataset):
        raise Broken(f"is a {type(found).__name__}; return a metricforge.contracts.Dataset.")
    if not isinstance(found.name, str) or not found.name:
        raise Broken(f"has the name {found.name!r}; give a word.")
    if len(found) == 0:
        raise Broken("has no images; say in a DataError what is missing.")
    if isinstance(found.notes, str) or not all(isinstance(note, str) for note in found.notes):
        raise Broken(f"has the notes {found.notes!r}; give a tuple of sentences.")


def images_have_the_shape(subject: Subject) -> None:
    """Images are uint8 [N, C, H, W] or N Paths that decode, and agree with `shape`."""
    found = _kept(subject)
    channels, height, width = shape_of(found)
    if not isinstance(found.reading, Reading):
        raise Broken(f"has the reading {found.reading!r}; give a metricforge.contracts.Reading.")
    if isinstance(found.images, Tensor):
        wanted = (len(found), channels, height, width)
        if found.images.dtype != torch.uint8 or tuple(found.images.shape) != wanted:
            raise Broken(
                f"has images {found.images.dtype} {list(found.images.shape)} and a shape that "
                f"requires uint8 {list(wanted)}."
            )
        return
    sample = _few(found)
    try:
        taken = open_images(sample).take(torch.arange(len(sample)))
    except MetricForgeError as error:
        raise Broken(f"has files that can't be read: {error}") from error
    if tuple(taken.shape[1:]) != tuple(found.shape):
        raise Broken(f"has files that decode to {list(taken.shape[1:])}, not {found.shape}.")


def labels_index_the_classes(subject: Subject) -> None:
    """Labels are int64 [N] from 0 to C - 1."""
    found = _kept(subject)
    check_index(found.labels, "labels", len(found), len(found.classes), "classes")


def class_names_are_unique(subject: Subject) -> None:
    """Class names are a tuple of different, non-empty strings."""
    found = _kept(subject)
    check_names(found.classes, "classes")


def groups_agree(subject: Subject) -> None:
    """Groups are absent, or int64 [N] that index the different names in `group_names`."""
    found = _kept(subject)
    if found.groups is None:
        if found.group_names:
            raise Broken("has group_names and no groups; give both or neither.")
        raise Skipped("it has no groups.")
    check_names(found.group_names, "group_names")
    check_index(found.groups, "groups", len(found), len(found.group_names), "group_names")


def official_split_is_coded(subject: Subject) -> str | None:
    """The official split is absent, or int64 [N] of TRAIN, VALIDATION and TEST (0, 1, 2)."""
    found = _kept(subject)
    if found.official is None:
        raise Skipped("it has no official split.")
    check_index(found.official, "official", len(found), TEST + 1, "TRAIN, VALIDATION, TEST")
    parts = found.official.unique()
    return "all images are in one part of the official split." if len(parts) < 2 else None


def made_classes_are_made_of_others(subject: Subject) -> None:
    """Each class that is said to be made of others is, and of none that is made itself."""
    found = _kept(subject)
    if not found.made_of:
        raise Skipped("no class is made of others.")
    for made, others in found.made_of.items():
        if not others or not {made, *others} <= set(range(len(found.classes))):
            raise Broken(f"has made_of[{made!r}] = {others!r}; give indices of classes.")
        if both := [other for other in others if other in found.made_of]:
            raise Broken(f"has class {made} made of {both[0]}, which is made itself.")


def same_each_time(subject: Subject) -> None:
    """Built twice, under any global seeds, it has the same fingerprint."""
    first, second = (fingerprint(built(subject, seed).found) for seed in (1, 2))
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
    sample = _few(_kept(subject), 64)
    images = open_images(sample).take(torch.arange(len(sample)))
    if len(sample) > 1 and bool((images == images[:1]).all()):
        raise Broken("has the same image everywhere; are the files decoded, or scaled to 0..255?")


def classes_can_be_compared(subject: Subject) -> str | None:
    """There are two classes or more, and each has two images or more."""
    found = _kept(subject)
    counts = found.labels.bincount(minlength=len(found.classes))
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
    found = _kept(subject)
    seconds = min(built(subject, seed).seconds for seed in (1, 2))
    held = found.images.nbytes / 2**20 if isinstance(found.images, Tensor) else 0.0
    where = f"{held:.1f} MB of images" if held else "images in files"
    each = seconds / len(found) * 1e6
    return f"{len(found):,} images in {seconds:.2f} s ({each:,.0f} us an image), {where}"


def _kept(subject: Subject) -> Dataset:
    found: Dataset = built(subject, seed=1).found
    return found


def _few(found: Dataset, count: int = DECODED) -> Dataset:
    """The dataset with a few of its images, spread over all."""
    places = torch.linspace(0, len(found) - 1, min(count, len(found))).long()
    if isinstance(found.images, Tensor):
        images: Tensor | list[Any] = found.images[places]
    else:
        images = [found.images[place] for place in places.tolist()]
    labels, reading = found.labels[places], found.reading
    return Dataset(found.name, images, labels, found.classes, found.shape, reading=reading)


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
