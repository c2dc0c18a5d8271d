"""The content of a tar file, compressed or not, read to its very end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metricforge.data.archive_members import (
    check_count,
    check_size,
    is_skipped_member,
    refused,
    spelled,
)
from metricforge.errors import DataError

MOST_IN_MEMORY = 1 << 29
"""Bytes of images that are kept of a compressed tar, which can't be read out of order."""

_COMPRESSED: Mapping[str, Any] = {
    ".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".tbz2": bz2.open,
    ".xz": lzma.open, ".txz": lzma.open,
}  # fmt: skip
_BLOCK = 1 << 16


class Tar:
    """The files of an uncompressed tar, read from it at each access: see `Contents`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.sizes, self._begins = array("q"), array("q")
        with tarfile.open(path, "r:", tarinfo=_Header) as archive:
            for name, info in _files(path, archive):
                self.names.append(name)
                self.sizes.append(info.size)
                self._begins.append(info.offset_data)

    def read(self, position: int) -> bytes:
        """The content of a file."""
        with self.path.open("rb") as file:
            file.seek(self._begins[position])
            return file.read(self.sizes[position])


class CompressedTar:
    """The files of a compressed tar, which was read in one pass: see `Contents`."""

    def __init__(self, path: Path) -> None:
        self.names: list[str] = []
        self.sizes = array("q")
        self._contents: list[bytes] = []
        held = 0
        with _COMPRESSED[path.suffix.lower()](path, "rb") as plain:
            limited = _Limited(plain, path)
            with tarfile.open(fileobj=limited, mode="r|", tarinfo=_Header) as archive:
                for name, info in _files(path, archive):
                    held += info.size
                    if held > MOST_IN_MEMORY:
                        raise _too_much(path)
                    self.sizes.append(info.size)
                    file: Any = archive.extractfile(info)
                    self.names.append(name)
                    self._contents.append(file.read())
            # The checksum of the stream is at its end.
            while limited.read(_BLOCK):
                pass

    def read(self, position: int) -> bytes:
        """The content of a file."""
        return self._contents[position]


def is_compressed(path: Path) -> bool:
    """Whether a tar's name is that of a compressed one."""
    return path.suffix.lower() in _COMPRESSED


class _Header(tarfile.TarInfo):
    """A required header: tarfile takes a damaged or missing one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # a block of zeros, which is how a tar ends
        except tarfile.HeaderError as error:
            why = f"{error}" if buf else "it ends without its last block"
            raise tarfile.ReadError(why) from error


class _Limited(io.RawIOBase):
    """A stream that raises DataError once it unpacks to far more than MOST_IN_MEMORY.

    Headers, too, are read to memory: a bomb need not be in a member.
    """

    def __init__(self, plain: Any, path: Path) -> None:
        self._plain, self._path = plain, path
        self._left = 2 * MOST_IN_MEMORY

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._plain.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise _too_much(self._path)
        return content


def _files(path: Path, archive: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The regular files of a tar, checked, with their names; those with a skipped name are not."""
    count = 0
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it keeps them, at a kilobyte each
        count += 1
        check_count(path, count)
        name = spelled(path, info.name)
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise refused(path, info.name, "is a link, a device or a sparse file")
        check_size(path, info.name, info.size, info.size)
        if info.isreg() and not is_skipped_member(name):
            yield name, info


def _too_much(path: Path) -> DataError:
    return DataError(
        f"'{path}' unpacks to more than {MOST_IN_MEMORY // 2**20} MB, which a compressed tar can't "
        "be read from out of order; decompress it to a .tar, or make it a .zip."
    )
