"""The user's own images or vectors and labels, as numpy arrays in one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from metricforge.contracts import TEST, TRAIN, Dataset
from metricforge.data.vectors import vector_tensor
from metricforge.errors import DataError, UsageError
from metricforge_standard.datasets._labels import flags, indexed, parts, tested_parts
from metricforge_standard.datasets._notes import (
    counted,
    flag_notes,
    shared_classes,
    single_image_note,
    untested_note,
)
from metricforge_standard.datasets._npz_arrays import FLAGS, Arrays, read_arrays
from metricforge_standard.datasets._pixels import check_size, resized


def npz(*, path: Path, size: int | None = None) -> Dataset:
    """Your own images or vectors and labels, as arrays in one .npz file that numpy.savez wrote.

    The arrays are:

    - `images` (or x): uint8 [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1 or 3; where both
      fit, the channels are last;
    - or `features` (or x): vectors of real numbers [N, V]; those of more than 512 MiB that
      numpy.savez wrote uncompressed stay in the file, and are read when they are needed;
    - `labels` (or y): [N] whole numbers or strings, each a class name; gaps don't matter;
    - `groups`, optional: [N], like labels;
    - `split`, optional: [N] the strings train, validation (val) and test; if none is test,
      validation is the test part;
    - `is_query` and `is_gallery`, optional, both or neither: bool [N].

    Or else x_train, y_train, x_test and y_test, as in Keras' mnist.npz, images or vectors, which
    give the official split. Other arrays are ignored with a note. The headers of the arrays are
    checked before any array is read: together they may take 8 GiB. Nothing is unpickled.

    Args:
        path: The .npz file.
        size: Side to resize the images to, 1 to 4,096 pixels; none: as they are. Not of vectors.

    Raises:
        DataError: An array can't be used; the error names it and the index in it.
    """
    if size is not None:
        check_size(size, "npz")
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise DataError(f"option 'path' of dataset 'npz': '{path}' {what}.")
    arrays = read_arrays(path)
    label_index = indexed(arrays.labels, arrays.what("labels"))
    labels, classes = label_index.places, label_index.names
    if len(classes) < 2:
        raise DataError(f"'{path}' has only one class, '{classes[0]}'; it needs two or more.")
    groups, group_names = _groups(arrays)
    written = _official(arrays)
    official = tested_parts(written)
    queries, gallery = (_flag(arrays, name) for name in FLAGS)
    flagged = flag_notes(path, queries, gallery, official)
    images = _inputs(arrays, size)
    single = [classes[index] for index in (labels.bincount() == 1).nonzero().flatten().tolist()]
    return Dataset(
        name=path.stem,
        images=images,
        labels=labels,
        classes=classes,
        shape=tuple(images.shape[1:]),
        groups=groups,
        group_names=group_names,
        official=official,
        notes=(
            *label_index.notes,
            *([single_image_note(single)] if single else []),
            *_notes(arrays),
            *untested_note(path, written, official),
            *flagged,
            *shared_classes(path, labels, official, classes),
        ),
        warnings=label_index.warnings,
        queries=queries,
        gallery=gallery,
    )


def _inputs(arrays: Arrays, size: int | None) -> Tensor:
    """Images uint8 [N, C, H, W] at a size, or vectors [N, V]."""
    if not arrays.of_vectors:
        return _resized(arrays.channels_first(), size)
    if size is not None:
        raise UsageError(f"'{arrays.path}' has vectors, which have no size: leave size out.")
    return vector_tensor(arrays.images, f"the vectors of '{arrays.path}'")


def _resized(images: Tensor, size: int | None) -> Tensor:
    if size is None:
        return images
    return torch.cat([resized(channel, size) for channel in images.unbind(1)], 1)


def _groups(arrays: Arrays) -> tuple[Tensor | None, tuple[str, ...]]:
    """The group of each image and the groups' names; none if one group has all images."""
    if "groups" not in arrays.extra:
        return None, ()
    groups = indexed(arrays.extra["groups"], arrays.what("groups"))
    return (groups.places, groups.names) if len(groups.names) > 1 else (None, ())


def _official(arrays: Arrays) -> Tensor | None:
    if arrays.trained is not None:
        index = torch.arange(len(arrays.labels))
        return torch.where(index < arrays.trained, TRAIN, TEST)
    split = arrays.extra.get("split")
    return None if split is None else parts(split, arrays.what("split"))


def _flag(arrays: Arrays, name: str) -> Tensor | None:
    if (name in arrays.extra) and not all(flag in arrays.extra for flag in FLAGS):
        raise DataError(f"'{arrays.path}' has the array '{name}' alone; give both or neither.")
    values = arrays.extra.get(name)
    return None if values is None else flags(values, arrays.what(name))


def _notes(arrays: Arrays) -> Iterator[str]:
    if arrays.unused:
        yield f"arrays of '{arrays.path}' that are not used: {counted(arrays.unused)}."
