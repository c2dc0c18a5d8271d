"""The user's own images, in a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.errors import DataError
from metricforge_standard.datasets._notes import counted, of_one_image
from metricforge_standard.datasets._pixels import check_size
from metricforge_standard.datasets._tree import walk


def folder(*, path: Path, size: int = 64, color: bool = True) -> Dataset:
    """Your own images, in a folder for each class at any depth below `path`.

    A class is the folder that holds the image, as its path below `path`, so that `cats/big` and
    `dogs/big` are two; its group is the folder around it, where there is more than one such.
    Images are resized to [3, size, size], or [1, size, size] without `color`, and read when
    they are needed. Hidden files and known by-files (.txt, .csv, .json, .xml, .mat, Thumbs.db
    and their like) are passed over; any other file is refused, and so are links that lead out of
    `path`. Raises DataError when there are not two classes of images. No official split.
    """
    check_size(size, "folder")
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise DataError(f"option 'path' of dataset 'folder': '{path}' {what}.")
    folders = {place.relative_to(path).as_posix(): images for place, images in walk(path)}
    loose = folders.pop(".")
    if loose:
        raise DataError(f"'{loose[0]}' has no class; move it into a folder named for its class.")
    classes = tuple(sorted(name for name, images in folders.items() if images))
    if len(classes) < 2:
        raise _too_few(classes, path)
    counts = torch.tensor([len(folders[name]) for name in classes])
    labels = torch.arange(len(classes)).repeat_interleave(counts)
    groups, group_names = _groups(classes)
    return Dataset(
        name=path.resolve().name,
        images=[image for name in classes for image in folders[name]],
        labels=labels,
        classes=classes,
        shape=(3 if color else 1, size, size),
        groups=None if groups is None else groups[labels],
        group_names=group_names,
        notes=tuple(_notes(folders)),
    )


def _groups(classes: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """The group of each class and the groups' names; one group around all would say nothing."""
    parents = [str(PurePosixPath(name).parent) for name in classes]
    names = tuple(sorted(set(parents)))
    if len(names) < 2:
        return None, ()
    return torch.tensor([names.index(parent) for parent in parents]), names


def _notes(folders: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    around = {str(PurePosixPath(name).parent) for name in folders}
    empty = [name for name, images in folders.items() if not images and name not in around]
    single = [name for name, images in folders.items() if len(images) == 1]
    if empty:
        yield f"folders without images, which are no classes: {counted(empty)}."
    if single:
        yield of_one_image(single)


def _too_few(classes: Sequence[str], path: Path) -> DataError:
    found = f"images of one class only, '{classes[0]}'" if classes else "no images"
    return DataError(f"folder '{path}' has {found}; it needs a folder of images for each class.")
