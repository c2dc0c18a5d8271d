"""The user's own images, in a folder for each class."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.archive import below_shared, is_archive, read_archive, without_suffix
from metricforge.data.asides import asides
from metricforge.data.files import Chosen, Encoded, Paths
from metricforge.data.outputs import lies_among
from metricforge.data.tree import walk
from metricforge.errors import DataError, UsageError
from metricforge_standard.datasets._broken import ADVICE, without_broken
from metricforge_standard.datasets._notes import converted, counted, of_one_image
from metricforge_standard.datasets._pixels import check_size


def folder(
    *,
    path: Path,
    size: int = 64,
    color: bool = True,
    broken: Literal["refuse", "skip"] = "refuse",
    cache: Path | None = None,
    index: Path | None = None,
) -> Dataset:
    """Your own images, in a folder for each class at any depth below `path`.

    A class is the folder that holds the image, as its path below `path`, so that `cats/big` and
    `dogs/big` are two; its group is the folder around it, where there is more than one such.
    `path` may be a zip or tar file with such folders, which is not unpacked.
    Images are resized to [3, size, size], or [1, size, size] without `color`, and read when
    they are needed; `cache` is a folder to keep the resized ones in. With `broken=skip` all are
    read at the start, and those that can't be are counted and left out. `index` is a file that
    keeps the names and sizes of a large tree: folders that have not changed since are then not
    read again. Hidden files and known by-files (.txt, .csv, .xmp, .mov, camera raws and their
    like) are passed over and, without `index`, counted; runs, models and indexes of metricforge are
    skipped and counted; any other file that is no image is refused, and
    so are links that lead out of `path`. Raises DataError when there are not two classes of images.
    No official split.
    """
    check_size(size, "folder")
    if not path.exists():
        raise DataError(f"option 'path' of dataset 'folder': '{path}' does not exist.")
    if not path.is_dir() and not (path.is_file() and is_archive(path)):
        raise DataError(
            f"option 'path' of dataset 'folder': '{path}' is neither a folder nor a .zip or .tar."
        )
    if index and not path.is_dir():
        raise UsageError(f"option 'index' of dataset 'folder' is for folders, not for '{path}'.")
    for option, place in (("cache", cache), ("index", index)):
        if place:
            _check_outside(path, option, place)
    found = _of_folder(path, index) if path.is_dir() else _of_archive(path)
    # A tree with an index is one that takes long to list: it is not listed again to count.
    beside = tuple(asides(path)) if path.is_dir() and not index else ()
    if len(found.classes) < 2:
        raise _too_few(found.classes, path)
    groups, group_names = _groups(found.classes)
    labels = torch.arange(len(found.classes)).repeat_interleave(found.counts)
    shape = (3 if color else 1, size, size)
    dataset = Dataset(
        name=_name(path),
        images=found.images,
        labels=labels,
        classes=found.classes,
        shape=shape,
        groups=None if groups is None else groups[labels],
        group_names=group_names,
        notes=(*found.notes, *beside, converted(found.images, shape)),
        cache=cache,
        advice=ADVICE,
    )
    return dataset if broken == "refuse" else without_broken(dataset)


def _check_outside(path: Path, option: str, place: Path) -> None:
    """UsageError for a place where what is written would be taken for one of the images."""
    if lies_among(place, path) or place.resolve() == path.resolve():
        raise UsageError(
            f"option '{option}' of dataset 'folder': '{place}' lies in the folder of the "
            f"images; name a place outside of '{path}', or hide it with a dot before its name."
        )


@dataclass(frozen=True)
class _Found:
    """Images in the order of their classes, and how many there are of each."""

    classes: tuple[str, ...]
    counts: Tensor
    images: Sequence[Encoded]
    notes: tuple[str, ...]


def _of_folder(path: Path, index: Path | None) -> _Found:
    walked = {each.path.relative_to(path).as_posix(): each for each in walk(path, index)}
    outputs = [name for name, each in walked.items() if each.is_output]
    folders = {name: each for name, each in walked.items() if not each.is_output}
    loose = folders.pop(".")
    if loose.names:
        raise _loose(str(path / loose.names[0]))
    counts = {name: len(each.names) for name, each in folders.items()}
    classes = tuple(sorted(name for name, count in counts.items() if count))
    images = Paths()
    for name in classes:
        images.add(folders[name].path, folders[name].names, folders[name].sizes)
    notes = (*_of_outputs(outputs), *_notes(counts, outputs))
    return _Found(classes, _numbers(classes, counts), images, notes)


def _of_archive(path: Path) -> _Found:
    members = read_archive(path)
    above = below_shared(members.paths)
    places: dict[str, array[int]] = {}
    for place, name in enumerate(members.paths):
        label, slash, _ = name.removeprefix(above).rpartition("/")
        if not slash:
            raise _loose(members[place].name)
        places.setdefault(label, array("q")).append(place)
    counts = {name: len(each) for name, each in places.items()}
    classes = tuple(sorted(places))
    images = Chosen(members, array("q", chain.from_iterable(places[name] for name in classes)))
    return _Found(classes, _numbers(classes, counts), images, tuple(_notes(counts)))


def _name(path: Path) -> str:
    """The folder's own name, or the archive's without what says that it is one."""
    name = path.resolve().name
    return name if path.is_dir() else without_suffix(name)


def _numbers(classes: Sequence[str], counts: Mapping[str, int]) -> Tensor:
    return torch.tensor([counts[name] for name in classes], dtype=torch.int64)


def _groups(classes: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """The group of each class and the groups' names; one group around all would say nothing."""
    parents = [str(PurePosixPath(name).parent) for name in classes]
    names = tuple(sorted(set(parents)))
    if len(names) < 2:
        return None, ()
    places = {name: place for place, name in enumerate(names)}
    return torch.tensor([places[parent] for parent in parents]), names


def _of_outputs(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"folders that metricforge wrote (runs, models, indexes), skipped: {counted(names)}."


def _notes(counts: Mapping[str, int], outputs: Sequence[str] = ()) -> Iterator[str]:
    around = {str(PurePosixPath(name).parent) for name in (*counts, *outputs)}
    empty = [name for name, count in counts.items() if not count and name not in around]
    single = [name for name, count in counts.items() if count == 1]
    if empty:
        yield f"folders without images, which are no classes: {counted(empty)}."
    if single:
        yield of_one_image(single)


def _loose(image: str) -> DataError:
    return DataError(f"'{image}' has no class; move it into a folder named for its class.")


def _too_few(classes: Sequence[str], path: Path) -> DataError:
    found = f"images of one class only, '{classes[0]}'" if classes else "no images"
    return DataError(f"folder '{path}' has {found}; it needs a folder of images for each class.")
