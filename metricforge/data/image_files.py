"""Encoded images, by index: files of their own, or what lies inside an archive."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.dtypes import StringDType
from numpy.typing import NDArray

from metricforge.contracts import EncodedImage
from metricforge.errors import DataError

Encoded: TypeAlias = Path | EncodedImage


class Paths(Sequence[Path]):
    """Paths of files, of which the name alone is kept: a million take some 45 MB, not 500.

    They are in the order of adding, by folder.
    """

    def __init__(self) -> None:
        self._folders: list[Path] = []
        self._known: dict[Path, Path] = {}  # one object for each of them
        self._begins = array("q")  # of each folder, the place of its first file
        self._names: NDArray[Any] = np.empty(1, StringDType())  # and room for more
        self._count = 0
        self.sizes = array("q")
        """The bytes of each file, where `add` was told those of all."""

    def add(self, folder: Path, names: Sequence[str], sizes: Sequence[int] | None = None) -> None:
        """Put the files of these names in `folder` behind those that there are."""
        if not names:
            return
        if not self._folders or self._folders[-1] != folder:
            self._folders.append(self._known.setdefault(folder, folder))
            self._begins.append(self._count)
        first, self._count = self._count, self._count + len(names)
        if self._count > len(self._names):
            self._names = np.append(self._names, np.empty(self._count, StringDType()))
        self._names[first : self._count] = names
        self.sizes.extend(sizes or ())

    def append(self, path: Path) -> None:
        """Put one file behind those that there are; its size is asked for where it is needed."""
        self.add(path.parent, [path.name])

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Path: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Path]: ...
    def __getitem__(self, place: int | slice) -> Path | Sequence[Path]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        name: str = self._names[place]
        return self._folders[bisect_right(self._begins, place) - 1] / name

    def strings(self) -> Iterator[str]:
        """The paths as text, which is several times faster than as Paths."""
        ends = [*self._begins[1:], len(self)]
        for folder, first, end in zip(self._folders, self._begins, ends, strict=True):
            above = os.path.join(folder, "")  # noqa: PTH118
            for name in self._names[first:end]:
                yield above + name


class Chosen(Sequence[Encoded]):
    """Some of the files, by their places, in order."""

    def __init__(self, files: Sequence[Encoded], places: Sequence[int]) -> None:
        self._files, self._places = files, array("q", places)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Encoded: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Encoded]: ...
    def __getitem__(self, place: int | slice) -> Encoded | Sequence[Encoded]:
        if isinstance(place, slice):
            return Chosen(self._files, self._places[place])
        return self._files[self._places[place]]


def name_of(file: Encoded) -> str:
    """What errors, reports and records call a file."""
    return str(file) if isinstance(file, Path) else file.name


def names_of(files: Sequence[Encoded]) -> Iterator[str]:
    """The name of each file, in order."""
    return files.strings() if isinstance(files, Paths) else map(name_of, files)


def sizes_of(files: Sequence[Encoded]) -> Iterator[int]:
    """The bytes of each file; DataError for one that is not there."""
    if isinstance(files, Paths):
        known = len(files.sizes) == len(files)
        return iter(files.sizes) if known else map(_size, files.strings())
    return (_size(file) if isinstance(file, Path) else file.size for file in files)


def names_below(files: Sequence[Encoded]) -> Iterator[str]:
    """The name of each file below the folder, or the archive, that all of them share."""
    folders = {os.path.dirname(name) for name in names_of(files)}  # noqa: PTH120
    shared = os.path.join(os.path.commonpath(folders), "") if folders else ""  # noqa: PTH118
    return (name[len(shared) :].replace(os.sep, "/") for name in names_of(files))


def _size(path: Path | str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError as error:
        raise DataError(
            f"image '{path}' can't be opened ({error.strerror}); check that it is there."
        ) from error
