"""The arrays of an .npz file that make up a dataset of images or vectors, by their usual names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.data.foreign_arrays import as_text
from metricforge.errors import DataError
from metricforge_standard.datasets._npz_archive import Archive

FLAGS = ("is_query", "is_gallery")
"""The arrays that must come together."""

_NAMES = (("images", "labels"), ("features", "labels"), ("x", "y"))
_KERAS = ("x_train", "y_train", "x_test", "y_test")
_OPTIONAL = ("groups", "split", *FLAGS)


@dataclass(frozen=True)
class Arrays:
    """The arrays of a file by their role.

    `extra` are the optional ones, `unused` the names of all others. In Keras' layout the first
    `trained` images are the train part and the others the test part.
    """

    path: Path
    images: NDArray[Any]
    labels: NDArray[Any]
    extra: Mapping[str, NDArray[Any]]
    unused: tuple[str, ...]
    trained: int | None = None

    def what(self, name: str) -> str:
        """The name of an array in errors; the labels of two parts are indexed as one array."""
        return f"{self.path}:{name}"

    @property
    def of_vectors(self) -> bool:
        """Whether there are vectors, real numbers [N, V], in place of images."""
        return self.images.ndim == 2

    def channels_first(self) -> Tensor:
        """The images as uint8 [N, C, H, W]; DataError for another number of channels."""
        images = self.images
        if images.ndim == 3:
            images = images[:, None]
        elif images.shape[3] in (1, 3):
            images = images.transpose(0, 3, 1, 2)
        elif images.shape[1] not in (1, 3):
            raise DataError(
                f"the images of '{self.path}' are {list(images.shape)}; of channels there may be "
                "1 or 3, last or just before height and width."
            )
        return torch.from_numpy(np.ascontiguousarray(images))


def read_arrays(path: Path) -> Arrays:
    """The arrays that a dataset is made of; DataError for one that can't be used."""
    archive = Archive.open(path)
    has = archive.headers
    for images, labels in _NAMES:
        if images in has and labels in has:
            return _read_whole(archive, images, labels)
    if not all(name in has for name in _KERAS):
        expected = "; ".join(", ".join(names) for names in (*_NAMES, _KERAS))
        raise DataError(
            f"'{archive.path}' has the arrays {', '.join(map(repr, has)) or 'none'}, but needs "
            f"one of these sets: {expected}."
        )
    return _read_keras(archive)


def _read_whole(archive: Archive, images: str, labels: str) -> Arrays:
    used = (images, labels, *(name for name in _OPTIONAL if name in archive.headers))
    _check_lengths(archive, _check_images(archive, images), *used[1:])
    read = archive.mapped if len(archive.headers[images].shape) == 2 else archive.read
    return Arrays(
        archive.path,
        read(images),
        archive.read(labels),
        {name: archive.read(name) for name in used[2:]},
        tuple(name for name in archive.headers if name not in used),
    )


def _read_keras(archive: Archive) -> Arrays:
    """Both parts as one, the first `trained` images of which are the train part."""
    counts = []
    for images, labels in (_KERAS[:2], _KERAS[2:]):
        counts.append(_check_images(archive, images))
        _check_lengths(archive, counts[-1], labels)
    shapes = [archive.headers[name].shape[1:] for name in ("x_train", "x_test")]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"'x_train' of '{archive.path}' has inputs of {shapes[0]} and 'x_test' of "
            f"{shapes[1]}; bring them to one shape."
        )
    kinds = [archive.headers[name].dtype.kind in "US" for name in ("y_train", "y_test")]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"of 'y_train' and 'y_test' of '{archive.path}' one has strings and one numbers; "
            "label both alike."
        )
    pixels = np.concatenate([archive.read("x_train"), archive.read("x_test")])
    # One may be bytes and the other strings, which can be joined as strings only.
    written = np.concatenate([_labels(archive, name) for name in ("y_train", "y_test")])
    unused = tuple(name for name in archive.headers if name not in _KERAS)
    return Arrays(archive.path, pixels, written, {}, unused, counts[0])


def _labels(archive: Archive, name: str) -> NDArray[Any]:
    values = archive.read(name)
    return as_text(values, f"{archive.path}:{name}") if values.dtype.kind in "US" else values


def _check_images(archive: Archive, name: str) -> int:
    """The number of images or vectors in an array, by its header; DataError for another array."""
    header = archive.headers[name]
    # Rows of an array of images in bytes are flat images.
    flat = name in ("images", *_KERAS) and header.dtype == np.uint8
    if len(header.shape) == 2 and not flat and 0 not in header.shape:
        return header.shape[0]
    if header.dtype != np.uint8:
        raise DataError(
            f"'{name}' of '{archive.path}' is {header.dtype} {list(header.shape)}; save images as "
            "uint8, 0 to 255, and vectors as [N, V]."
        )
    if len(header.shape) not in (3, 4) or 0 in header.shape:
        raise DataError(
            f"'{name}' of '{archive.path}' is {list(header.shape)}; images are [N, H, W], "
            "[N, H, W, C] or [N, C, H, W], and vectors [N, V]."
        )
    return header.shape[0]


def _check_lengths(archive: Archive, count: int, *names: str) -> None:
    for name in names:
        shape = archive.headers[name].shape
        if shape != (count,):
            raise DataError(
                f"'{name}' of '{archive.path}' is {list(shape)}, but there are {count:,} images; "
                "give one value for each."
            )
