"""The arrays of an .npz file, checked by their headers before numpy reads any."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from metricforge.data.archive_members import check_ratio
from metricforge.data.images import MEMORY_LIMIT
from metricforge.data.zip_archive import opened
from metricforge.errors import DataError

MAX_BYTES = 8 << 30
"""The most bytes that the arrays of one file may take together."""

_PIECE = 1 << 20

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class Header:
    """The header of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Archive:
    """An .npz file and the headers of its arrays by name; nothing in it is ever unpickled."""

    path: Path
    headers: Mapping[str, Header]

    @classmethod
    def open(cls, path: Path) -> Archive:
        """DataError, naming the array, for one that is damaged or too large."""
        with _reading(f"'{path}' can't be read as an .npz file"):
            archive = ZipFile(path)
        with archive:
            members = archive.infolist()
            names = [info.filename.removesuffix(".npy") for info in members]
            if len(set(names)) < len(names):
                raise DataError(f"'{path}' has an array twice; save it anew with numpy.savez.")
            # Of all arrays together: sorted labels alone may compress to a thousandth.
            together = sum(info.file_size for info in members)
            check_ratio(path, "all that it holds", together, path.stat().st_size)
            headers = {}
            for name, info in zip(names, members, strict=True):
                with _reading_array(path, name), opened(archive, info) as file:
                    headers[name] = _checked(_header(file), info.file_size - file.tell())
        together = sum(header.bytes for header in headers.values())
        if together > MAX_BYTES:
            largest = max(headers, key=lambda name: headers[name].bytes)
            raise DataError(
                f"the arrays of '{path}' take {together:,} bytes, of which '{largest}' the most, "
                f"and more than {MAX_BYTES:,} are refused; use a folder of images, or a CSV file."
            )
        return cls(path, headers)

    def read(self, name: str) -> NDArray[Any]:
        """The array of this name; DataError for one that is damaged or of Python objects."""
        if self.headers[name].dtype.hasobject:
            raise DataError(
                f"the array '{name}' of '{self.path}' holds Python objects, which are not "
                "unpickled; save it as strings or numbers."
            )
        with _reading_array(self.path, name), np.load(self.path, allow_pickle=False) as arrays:
            array: NDArray[Any] = arrays[name]
            return array

    def mapped(self, name: str) -> NDArray[Any]:
        """The array of this name, mapped to memory if it is large and lies in the file as it is.

        What is written to it does not reach the file. Raises DataError as :meth:`read`.
        """
        header = self.headers[name]
        if header.bytes <= MEMORY_LIMIT or header.dtype.hasobject:
            return self.read(name)
        with _reading_array(self.path, name), ZipFile(self.path) as archive:
            info = next(i for i in archive.infolist() if i.filename.removesuffix(".npy") == name)
            if info.compress_type != ZIP_STORED:
                return self.read(name)
            with opened(archive, info) as member:
                while member.read(_PIECE):  # to its end, where its checksum is compared
                    pass
        with _reading_array(self.path, name), self.path.open("rb") as file:
            file.seek(info.header_offset)
            lengths = struct.unpack("<26xHH", file.read(30))
            file.seek(sum(lengths), os.SEEK_CUR)
            version = npy.read_magic(file)
            shape, fortran, dtype = _HEADERS[version](file)
            order: Literal["F", "C"] = "F" if fortran else "C"
            return np.memmap(file, dtype, "c", file.tell(), shape, order)


def _reading_array(path: Path, name: str) -> AbstractContextManager[None]:
    return _reading(f"the array '{name}' of '{path}' can't be read")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turns any error of a damaged file into a DataError that says `what` failed."""
    try:
        yield
    except MemoryError:
        raise
    # zipfile, its decompressors and numpy's reader of headers, which parses them as Python,
    # raise any exception for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(f"{what} ({reason}); save it anew with numpy.savez.") from error


def _header(file: IO[bytes]) -> Header:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its format is {version[0]}.{version[1]}, not 1.0 or 2.0")
    shape, _, dtype = _HEADERS[version](file)
    return Header(shape, dtype)


def _checked(header: Header, held: int) -> Header:
    """The header, checked against the `held` bytes that follow it in the member."""
    # An array of Python objects has a pickle of any length, and is never read.
    if not header.dtype.hasobject and (min(header.shape, default=0) < 0 or header.bytes != held):
        raise ValueError(f"its header requires {header.bytes:,} bytes, and it holds {held:,}")
    return header
