"""Encoded images, by index: files, or members of an archive."""

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
    """Paths of files, stored as names by folder: a million take some 45 MB, not 500.

    They are in the order of adding.
    """

    def __init__(self) -> None:
        self._folders: list[Path] = []
        self._known: dict[Path, Path] = {}  # one object for each folder
        self._begins = array("q")  # of each folder, the index of its first file
        self._names: NDArray[Any] = np.empty(1, StringDType())  # and room for more
        self._count = 0
        self.sizes = array("q")
        """The bytes of each file, where `add` got the sizes of all."""

    def add(self, folder: Path, names: Sequence[str], sizes: Sequence[int] | None = None) -> None:
        """Append the files of these names in `folder`."""
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
        """Append a file; its size is read where it is needed."""
        self.add(path.parent, [path.name])

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | Sequence[Path]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        name: str = self._names[index]
        return self._folders[bisect_right(self._begins, index) - 1] / name

    def strings(self) -> Iterator[str]:
        """The paths as text, which is several times faster than as Paths."""
        ends = [*self._begins[1:], len(self)]
        for folder, first, end in zip(self._folders, self._begins, ends, strict=True):
            above = os.path.join(folder, "")  # noqa: PTH118
            for name in self._names[first:end]:
                yield above + name


class Chosen(Sequence[Encoded]):
    """Some of the files, by their indices, in order."""

    def __init__(self, files: Sequence[Encoded], indices: Sequence[int]) -> None:
        self._files, self._indices = files, array("q", indices)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | Sequence[Encoded]:
        if isinstance(index, slice):
            return Chosen(self._files, self._indices[index])
        return self._files[self._indices[index]]


def name_of(file: Encoded) -> str:
    """What errors, reports and records call a file."""
    return str(file) if isinstance(file, Path) else file.name


def names_of(files: Sequence[Encoded]) -> Iterator[str]:
    """The name of each file, in order."""
    return files.strings() if isinstance(files, Paths) else map(name_of, files)


def sizes_of(files: Sequence[Encoded]) -> Iterator[int]:
    """The bytes of each file; DataError for a missing file."""
    if isinstance(files, Paths):
        known = len(files.sizes) == len(files)
        return iter(files.sizes) if known else map(_size, files.strings())
    return (_size(file) if isinstance(file, Path) else file.size for file in files)


def names_below(files: Sequence[Encoded]) -> Iterator[str]:
    """The name of each file, relative to the folder or the archive that all of them share."""
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
