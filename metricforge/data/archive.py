"""The images in a zip or tar file, read where they are: nothing is unpacked to disk."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Any

from metricforge.data.filetypes import Taken, begins_as_an_image, is_passed_over, taken_for
from metricforge.errors import DataError

LARGEST_FILE = 1 << 28
"""Bytes of a member once unpacked: more than any image has that is decoded here."""

MOST_FILES = 5_000_000
"""Members of an archive."""

RATIO, RATIO_FROM = 200, 1 << 24
"""How much larger than packed a member, or all of them, may be, from so many bytes on."""

MOST_IN_MEMORY = 1 << 29
"""Bytes of images that are kept of a compressed tar, which can't be read out of order."""

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_COMPRESSED: Mapping[str, Any] = {
    ".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".tbz2": bz2.open,
    ".xz": lzma.open, ".txz": lzma.open,
}  # fmt: skip
_BAD = (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError,
        RuntimeError, NotImplementedError, ValueError, OverflowError)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """An image in an archive; see :class:`metricforge.contracts.EncodedImage`."""

    archive: _Zip | _Tar | _Kept
    path: str
    size: int
    changed: int = 0
    """When the archive was last changed, in ns."""

    @property
    def name(self) -> str:
        return f"{self.archive.path}/{self.path}"

    def read(self) -> bytes:
        with _readable(self.archive.path, self.path):
            content = self.archive.read(self.path)
            if len(content) != self.size:
                raise EOFError("it is cut short")
            return content


def is_archive(path: Path) -> bool:
    """Whether a file is taken for an archive, by its name."""
    return path.name.lower().endswith(SUFFIXES)


def read_archive(path: Path) -> list[Member]:
    """The images in an archive, sorted by path; hidden and known by-files are passed over.

    A zip or a plain tar is read again for each image, from several threads at once; the images of
    a compressed tar are kept in memory, up to MOST_IN_MEMORY bytes. Raises DataError for a member
    that leads out, a link or a device, one that is no image or too large, an archive that holds
    too many or unpacks to far more than it is, is encrypted or damaged.
    """
    with _readable(path):
        if path.name.lower().endswith(".zip"):
            members = _Zip(path).members()
        elif path.suffix.lower() in _COMPRESSED:
            members = _kept(path)
        else:
            members = _Tar(path).members()
    members.sort(key=lambda member: member.path)
    for one, other in pairwise(members):
        if one.path == other.path:
            raise _refused(path, one.path, "is there twice")
    return [replace(member, changed=path.stat().st_mtime_ns) for member in members]


class _Zip:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = zipfile.ZipFile(path)

    def members(self) -> list[Member]:
        infos = self._file.infolist()
        _check_count(self.path, len(infos))
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(self.path, info.filename, "is a link or a device")
            _check_name(self.path, info.filename)
            if info.flag_bits & 1:
                raise _refused(self.path, info.filename, "is encrypted")
            _check_size(self.path, info.filename, info.file_size, info.compress_size)
        whole = sum(info.file_size for info in infos)
        _check_ratio(self.path, "all that it holds", whole, self.path.stat().st_size)
        return [
            Member(self, info.filename, info.file_size)
            for info in infos
            if not info.is_dir() and _is_image(self.path, info.filename, self._file)
        ]

    def read(self, name: str) -> bytes:
        return self._file.read(name)  # from any thread: it locks what has to be


class _Tar:
    """A tar that is not compressed: a member is a piece of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}

    def members(self) -> list[Member]:
        with tarfile.open(self.path, "r:") as archive:
            for info in _files(self.path, archive):
                self._places[info.name] = (info.offset_data, info.size)
        return [
            Member(self, name, size)
            for name, (_, size) in self._places.items()
            if _is_image(self.path, name, self)
        ]

    def open(self, name: str) -> IO[bytes]:
        return io.BytesIO(self.read(name))

    def read(self, name: str) -> bytes:
        begin, size = self._places[name]
        with self.path.open("rb") as file:
            file.seek(begin)
            return file.read(size)


class _Kept:
    """The images of a compressed tar, which were read in one pass."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.contents: dict[str, bytes] = {}

    def open(self, name: str) -> IO[bytes]:
        return io.BytesIO(self.contents[name])

    def read(self, name: str) -> bytes:
        return self.contents[name]


def _kept(path: Path) -> list[Member]:
    kept, held = _Kept(path), 0
    with (
        _COMPRESSED[path.suffix.lower()](path, "rb") as plain,
        tarfile.open(fileobj=_Limited(plain, path), mode="r|") as archive,
    ):
        for info in _files(path, archive):
            held += info.size
            if held > MOST_IN_MEMORY:
                raise _too_much(path)
            file: Any = archive.extractfile(info)
            kept.contents[info.name] = file.read()
    names = [name for name in kept.contents if _is_image(path, name, kept)]
    return [Member(kept, name, len(kept.contents[name])) for name in names]


class _Limited(io.RawIOBase):
    """What a stream unpacks to, refused where it is far more than the images may be.

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


def _files(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The regular files of a tar, checked, less those that are passed over by their name."""
    seen: set[str] = set()
    for count, info in enumerate(archive, 1):
        _check_count(path, count)
        _check_name(path, info.name)
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise _refused(path, info.name, "is a link, a device or a sparse file")
        _check_size(path, info.name, info.size, info.size)
        if info.isreg() and not _is_passed_over(info.name):
            if info.name in seen:
                raise _refused(path, info.name, "is there twice")
            seen.add(info.name)
            yield info


def _is_image(path: Path, name: str, archive: Any) -> bool:
    if _is_passed_over(name):
        return False
    taken = taken_for(PurePosixPath(name).name)
    if taken is Taken.UNKNOWN:
        with archive.open(name) as content:
            if not begins_as_an_image(content):
                raise _refused(path, name, "is no image, neither by its extension nor its content")
    return taken is not Taken.BY_FILE


def _is_passed_over(name: str) -> bool:
    path = PurePosixPath(name)
    return any(map(is_passed_over, path.parts)) or taken_for(path.name) is Taken.BY_FILE


def _check_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    # On Windows a backslash parts folders and a colon names a drive.
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in "".join(parts[:1]):
        raise _refused(path, name, "leads out of the archive")
    if any("\ud800" <= sign <= "\udfff" or sign == "\0" for sign in name):
        raise _refused(path, name, "is not named in UTF-8")


def _check_count(path: Path, count: int) -> None:
    if count > MOST_FILES:
        raise DataError(f"'{path}' holds more than {MOST_FILES:,} files; divide it.")


def _check_size(path: Path, name: str, size: int, packed: int) -> None:
    if size > LARGEST_FILE:
        raise _refused(path, name, f"unpacks to {size:,} bytes, more than any image here")
    _check_ratio(path, f"'{name}'", size, packed)


def _check_ratio(path: Path, what: str, size: int, packed: int) -> None:
    if size > RATIO_FROM and size > RATIO * packed:
        raise DataError(
            f"'{path}': {what} unpacks to {size:,} bytes of {packed:,}, which is refused as a "
            "decompression bomb; pack it anew if it is none."
        )


def _refused(path: Path, name: str, why: str) -> DataError:
    return DataError(f"'{name}' in '{path}' {why}; pack the archive without it.")


def _too_much(path: Path) -> DataError:
    return DataError(
        f"'{path}' unpacks to more than {MOST_IN_MEMORY // 2**20} MB, which a compressed tar can't "
        "be read from out of order; decompress it to a .tar, or make it a .zip."
    )


@contextmanager
def _readable(path: Path, name: str = "") -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except _BAD as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        what = f"'{name}' in '{path}'" if name else f"'{path}'"
        raise DataError(f"{what} can't be read ({reason}); pack it anew.") from error


def below_shared(names: Sequence[str]) -> str:
    """The folder that an archive puts around all of its classes, with a slash behind; "" if none.

    `names` are paths as pathlib writes them, without "./" before them. People pack the folder
    `photos`, not what is in it: the classes are those in it all the same.
    """
    folders = {PurePosixPath(name).parent for name in names}
    shared = PurePosixPath(os.path.commonpath(folders)) if folders else PurePosixPath()
    # A folder that holds images is a class.
    while shared in folders and shared.parts:
        shared = shared.parent
    return f"{shared}/" if shared.parts else ""
