"""The images in an archive: what they are called, where they lie, and what is refused of them."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, overload

import numpy as np
from numpy.dtypes import StringDType

from metricforge.data.class_names import natural_key
from metricforge.data.filetypes import (
    Taken,
    begins_as_an_image,
    is_passed_over,
    taken_for,
    why_no_image,
)
from metricforge.errors import DataError

LARGEST_FILE = 1 << 28
"""Bytes of a member once unpacked: more than any image has that is decoded here."""

MOST_FILES = 5_000_000
"""Members of an archive."""

RATIO, RATIO_FROM = 200, 1 << 24
"""How much larger than packed a member, or all of them, may be, from so many bytes on."""

_BAD = (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError,
        RuntimeError, NotImplementedError, ValueError, OverflowError)  # fmt: skip


class Contents(Protocol):
    """What an archive holds, by place."""

    @property
    def sizes(self) -> Sequence[int]:
        """The bytes of each member once unpacked."""

    def read(self, place: int) -> bytes:
        """The content of the member at a place, from several threads at once."""


class Member(NamedTuple):
    """An image in an archive; see :class:`metricforge.contracts.EncodedImage`.

    A tuple, since one is made each time that an image is asked for.
    """

    archive: Path
    path: str
    size: int
    changed: int
    """When the archive was last changed, in ns."""
    contents: Contents
    place: int

    @property
    def name(self) -> str:
        return f"{self.archive}/{self.path}"

    def read(self) -> bytes:
        with readable(self.archive, self.path):
            content = self.contents.read(self.place)
            if len(content) != self.size:
                raise EOFError("it is cut short")
            return content


class Members(Sequence[Member]):
    """The images among what an archive holds, in natural order; a million take some 100 MB.

    `names` are those of all contents. Raises DataError for one that is no image, or there twice.
    """

    def __init__(self, archive: Path, names: Sequence[str], contents: Contents) -> None:
        self._archive, self._contents = archive, contents
        self._changed = archive.stat().st_mtime_ns
        found = [place for place, name in enumerate(names) if self._is_image(name, place)]
        found.sort(key=lambda place: natural_key(names[place]))
        self._places = array("q", found)
        self.paths = np.array([names[place] for place in found], StringDType())
        self._check_once()

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, number: int) -> Member: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Member]: ...
    def __getitem__(self, number: int | slice) -> Member | Sequence[Member]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        place = self._places[number]
        size = self._contents.sizes[place]
        path = self.paths[number]
        return Member(self._archive, path, size, self._changed, self._contents, place)

    def _is_image(self, name: str, place: int) -> bool:
        file = name.rpartition("/")[2]
        if taken_for(file) is not Taken.UNKNOWN:
            return taken_for(file) is Taken.IMAGE
        with readable(self._archive, name):
            content = io.BytesIO(self._contents.read(place))
        if not begins_as_an_image(content):
            raise refused(self._archive, name, why_no_image(file))
        return True

    def _check_once(self) -> None:
        before = ""
        for path in self.paths:
            if path == before:
                raise refused(self._archive, path, "is there twice")
            before = path


def spelled(path: Path, name: str) -> str:
    """A member's name in the one spelling, without "./" and "//".

    DataError, with the archive's `path`, for one that leads out or is no text.
    """
    parts = name.split("/")
    # On Windows a backslash parts folders, and a letter with a colon names a drive.
    if name.startswith("/") or ".." in parts or "\\" in name or parts[0][1:] == ":":
        raise refused(path, name, "leads out of the archive")
    if not name.isascii() and any("\ud800" <= sign <= "\udfff" for sign in name):
        raise refused(path, ascii(name)[1:-1], "is not named in UTF-8")
    if "\0" in name:
        raise refused(path, name.replace("\0", "\\0"), "is not named in UTF-8")
    return "/".join(part for part in parts if part not in ("", "."))


def is_left_out(name: str) -> bool:
    """Whether a member of this spelling is hidden, or no image by its name or its folders'."""
    *folders, file = name.split("/")
    hidden = any(is_passed_over(folder, is_folder=True) for folder in folders)
    return hidden or taken_for(file) is Taken.BY_FILE


def check_count(path: Path, count: int) -> None:
    """DataError for more members than are read."""
    if count > MOST_FILES:
        raise DataError(f"'{path}' holds more than {MOST_FILES:,} files; divide it.")


def check_size(path: Path, name: str, size: int, packed: int) -> None:
    """DataError for a member of more bytes than an image has, or than it can be packed to."""
    if size < 0:
        raise refused(path, name, f"has {size:,} bytes by its header")
    if size > LARGEST_FILE:
        raise refused(path, name, f"unpacks to {size:,} bytes, more than any image here")
    check_ratio(path, f"'{name}'", size, packed)


def check_ratio(path: Path, what: str, size: int, packed: int) -> None:
    """DataError for what unpacks to far more bytes than it is packed in."""
    if size > RATIO_FROM and size > RATIO * packed:
        raise DataError(
            f"'{path}': {what} unpacks to {size:,} bytes of {packed:,}, which is refused as a "
            "decompression bomb; pack it anew if it is none."
        )


def refused(path: Path, name: str, why: str) -> DataError:
    """The error of a member that is not read."""
    return DataError(f"'{name}' in '{path}' {why}; pack the archive without it.")


@contextmanager
def readable(path: Path, name: str = "") -> Iterator[None]:
    """Whatever a damaged archive or member raises, as one sentence that names it."""
    try:
        yield
    except DataError:
        raise
    except _BAD as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        what = f"'{name}' in '{path}'" if name else f"'{path}'"
        raise DataError(f"{what} can't be read ({reason}); pack it anew.") from error
