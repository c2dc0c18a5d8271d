"""Omniglot's drawings in its archives: PART/ALPHABET/CHARACTER/DRAWING.png."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from metricforge.data.zip_archive import opened
from metricforge.errors import DataError

_LARGEST = 1 << 16  # bytes of an unpacked drawing: a hundred times the usual
_DEPTH = 4
_FIX = "delete it to have it downloaded again"


@dataclass(frozen=True)
class Drawing:
    """One encoded image, and the path below its part that names its class."""

    path: PurePosixPath
    png: bytes

    @property
    def alphabet(self) -> str:
        return self.path.parts[1]

    @property
    def character(self) -> str:
        """The name of its class, "Alphabet/character01"."""
        return "/".join(self.path.parts[1:3])


def read_drawings(source: Path, count: int) -> list[Drawing]:
    """The `count` drawings of a zip file or of the folder that it unpacks to, sorted by path.

    Nothing is unpacked to disk. Raises DataError for an archive that is damaged, or holds
    another number of drawings, or anything else.
    """
    read = _from_archive if source.is_file() else _from_folder
    try:
        return sorted(read(source, count), key=lambda drawing: drawing.path)
    # An encrypted member is a RuntimeError, and so is an unknown compression.
    except (BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"'{source}' can't be read ({reason}); {_FIX}.") from error


def _from_archive(source: Path, count: int) -> list[Drawing]:
    with ZipFile(source) as archive:
        members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        for path in (paths := _drawings(members, source, count)):
            if members[str(path)].file_size > _LARGEST:
                raise DataError(f"'{path}' in '{source}' is larger than any drawing; {_FIX}.")
        return [Drawing(path, _content(archive, members[str(path)])) for path in paths]


def _content(archive: ZipFile, info: ZipInfo) -> bytes:
    with opened(archive, info) as file:
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise BadZipFile(f"'{info.filename}' is not as large as its directory says")
    return content


def _from_folder(source: Path, count: int) -> list[Drawing]:
    above = source.parent
    files = (file for file in source.rglob("*") if file.is_file())
    names = (file.relative_to(above).as_posix() for file in files)
    return [Drawing(path, (above / path).read_bytes()) for path in _drawings(names, source, count)]


def _drawings(names: Iterable[str], source: Path, count: int) -> list[PurePosixPath]:
    """The paths of the drawings among these names; DataError for any other file or count."""
    paths = [PurePosixPath(name) for name in names]
    paths = [path for path in paths if not _is_by_file(path)]
    for path in paths:
        fits_layout = len(path.parts) == _DEPTH and path.parts[0] == source.stem
        if not fits_layout or ".." in path.parts or path.suffix != ".png":
            raise DataError(f"'{path}' in '{source}' is no drawing of Omniglot's; {_FIX}.")
    if len(paths) != count:
        raise DataError(f"'{source}' holds {len(paths):,} drawings, not {count:,}; {_FIX}.")
    return paths


def _is_by_file(path: PurePosixPath) -> bool:
    # Files of the file managers of macOS and Windows.
    hidden = any(part.startswith(".") and part != ".." for part in path.parts)
    return hidden or path.parts[0] == "__MACOSX" or path.name == "Thumbs.db"
