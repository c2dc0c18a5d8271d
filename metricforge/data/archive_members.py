"""The images in an archive: their names and positions, and the checks that refuse a member."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, overload

import numpy as np
from numpy.dtypes import StringDType

from metricforge.data.class_names import natural_key
from metricforge.data.filetypes import (
    FileKind,
    begins_as_an_image,
    file_kind,
    is_skipped,
)
from metricforge.errors import DataError

LARGEST_FILE = 1 << 28
"""Bytes of a member once unpacked: more than any image has that is decoded here."""

MOST_FILES = 5_000_000
"""Members of an archive."""

RATIO, RATIO_FROM = 200, 1 << 24
"""The most that a member, or all of them, may unpack to per packed byte, checked from 16 MB on."""

_SHOWN = 5  # files in an error

_BAD = (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError,
        RuntimeError, NotImplementedError, ValueError, OverflowError)  # fmt: skip


class Contents(Protocol):
    """The files in an archive, by position."""

    @property
    def sizes(self) -> Sequence[int]:
        """The bytes of each member once unpacked."""

    def read(self, position: int) -> bytes:
        """The content of the member at a position; called from several threads at once."""


class Member(NamedTuple):
    """An image in an archive; see :class:`metricforge.contracts.EncodedImage`.

    A tuple, since one is made at each access.
    """

    archive: Path
    path: str
    size: int
    changed: int
    """When the archive was last changed, in ns."""
    contents: Contents
    position: int

    @property
    def name(self) -> str:
        return f"{self.archive}/{self.path}"

    def read(self) -> bytes:
        with readable(self.archive, self.path):
            content = self.contents.read(self.position)
            if len(content) != self.size:
                raise EOFError("it is cut short")
            return content


class Members(Sequence[Member]):
    """The images among an archive's files, in natural order; a million take some 100 MB.

    `names` are those of all files. Files that are no images are added to `unknown`, or else are a
    DataError, as is a duplicate. `exclude` returns whether a path is skipped.
    """

    def __init__(
        self,
        archive: Path,
        names: Sequence[str],
        contents: Contents,
        unknown: list[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
    ) -> None:
        self._archive, self._contents = archive, contents
        self._unknown: list[str] = [] if unknown is None else unknown
        self._changed = archive.stat().st_mtime_ns
        positions = [
            position
            for position, name in enumerate(names)
            if not (exclude and _excluded(name, exclude)) and self._is_image(name, position)
        ]
        if unknown is None and self._unknown:
            raise _no_images(archive, self._unknown)
        positions.sort(key=lambda position: natural_key(names[position]))
        self._positions = array("q", positions)
        self.paths = np.array([names[position] for position in positions], StringDType())
        self._check_once()

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Member: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Member]: ...
    def __getitem__(self, index: int | slice) -> Member | Sequence[Member]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = self._positions[index]
        size = self._contents.sizes[position]
        path = self.paths[index]
        return Member(self._archive, path, size, self._changed, self._contents, position)

    def _is_image(self, name: str, position: int) -> bool:
        file = name.rpartition("/")[2]
        if file_kind(file) is not FileKind.UNKNOWN:
            return file_kind(file) is FileKind.IMAGE
        with readable(self._archive, name):
            content = io.BytesIO(self._contents.read(position))
        if begins_as_an_image(content):
            return True
        self._unknown.append(name)
        return False

    def _check_once(self) -> None:
        before = ""
        for path in self.paths:
            if path == before:
                raise refused(self._archive, path, "is there twice")
            before = path


def _no_images(archive: Path, names: Sequence[str]) -> DataError:
    if len(names) == 1:
        reason = "is no image, neither by its extension nor by its content"
        instead = "pack the archive without it, or skip such files with broken=skip"
        return refused(archive, names[0], reason, instead)
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    return DataError(
        f"{len(names):,} files in '{archive}' are no images, neither by extension nor by content: "
        f"{shown}{', ...' if len(names) > _SHOWN else ''}; pack the archive without them, or skip "
        "them with broken=skip."
    )


def _excluded(name: str, exclude: Callable[[str], bool]) -> bool:
    """Whether a path, or a folder that it lies in, is excluded."""
    ends = [index for index, sign in enumerate(name) if sign == "/"]
    return any(exclude(name[:end]) for end in (*ends, len(name)))


def spelled(path: Path, name: str) -> str:
    """A member's normalised name, without "./" and "//".

    Raises DataError, naming the archive's `path`, for a name that leads out or is no text.
    """
    # Old tools for Windows part folders by backslashes; a letter with a colon names a drive there.
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or parts[0][1:] == ":":
        raise refused(path, name, "leads out of the archive")
    if not name.isascii() and any("\ud800" <= sign <= "\udfff" for sign in name):
        raise refused(path, ascii(name)[1:-1], "is not named in UTF-8")
    if "\0" in name:
        raise refused(path, name.replace("\0", "\\0"), "is not named in UTF-8")
    return "/".join(part for part in parts if part not in ("", "."))


def is_skipped_member(name: str) -> bool:
    """Whether a member of this normalised name is hidden, a by-file, or in a skipped folder."""
    *folders, file = name.split("/")
    hidden = any(is_skipped(folder, is_folder=True) for folder in folders)
    return hidden or file_kind(file) is FileKind.BY_FILE


def check_count(path: Path, count: int) -> None:
    """DataError for more than MOST_FILES members."""
    if count > MOST_FILES:
        raise DataError(f"'{path}' holds more than {MOST_FILES:,} files; divide it.")


def check_size(path: Path, name: str, size: int, packed: int) -> None:
    """DataError for a member that is larger than any image, or unpacks to too much."""
    if size < 0:
        raise refused(path, name, f"has {size:,} bytes by its header")
    if size > LARGEST_FILE:
        raise refused(path, name, f"unpacks to {size:,} bytes, more than any image here")
    check_ratio(path, f"'{name}'", size, packed)


def check_ratio(path: Path, what: str, size: int, packed: int) -> None:
    """DataError for content that unpacks to far more bytes than it is packed in."""
    if size > RATIO_FROM and size > RATIO * packed:
        raise DataError(
            f"'{path}': {what} unpacks to {size:,} bytes of {packed:,}, which is refused as a "
            "decompression bomb; pack it anew if it is none."
        )


def refused(
    path: Path, name: str, why: str, instead: str = "pack the archive without it"
) -> DataError:
    """The error of a member that is not read."""
    return DataError(f"'{name}' in '{path}' {why}; {instead}.")


@contextmanager
def readable(path: Path, name: str = "") -> Iterator[None]:
    """Turn any error of a damaged archive or member into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except _BAD as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        what = f"'{name}' in '{path}'" if name else f"'{path}'"
        raise DataError(f"{what} can't be read ({reason}); pack it anew.") from error
