"""The kind of a file in a folder of images, by its name or else by its content."""

from __future__ import annotations

import os
from enum import Enum
from functools import cache
from pathlib import Path
from typing import IO

FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "IM", "JPEG", "JPEG2000", "MPO", "MSP", "PCX", "PNG",
    "PPM", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM",
)  # fmt: skip
"""Pillow's names of the formats that are read. Those that call other programs, are documents or
films, or are no images of 8 or 16 bits, are not among them."""

IMAGES = {
    ".apng", ".avif", ".avifs", ".bmp", ".bw", ".dib", ".gif", ".ico", ".im", ".j2c", ".j2k",
    ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".msp", ".pbm",
    ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga",
    ".tif", ".tiff", ".webp", ".xbm", ".xpm",
}  # fmt: skip
"""The extensions of images, in lower case."""

RAWS = {
    ".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw",
}  # fmt: skip
"""The extensions, in lower case, of raw files of cameras, which are not read."""

BY_FILES = RAWS | {
    ".aae", ".avi", ".ini", ".lrcat", ".m4v", ".md5", ".mov", ".mp3", ".mp4", ".mts",
    ".sha1", ".sha256", ".wav", ".xmp",
    ".csv", ".html", ".json", ".jsonl", ".log", ".mat", ".md", ".pdf", ".rst", ".toml", ".tsv",
    ".txt", ".xml", ".yaml", ".yml",
}  # fmt: skip
"""The extensions, in lower case, of files that lie beside images and are skipped."""

BY_NAMES = {"thumbs.db", "desktop.ini", "readme", "license", "licence", "copying"}
"""The names of files, in lower case, that are skipped, as is all that a dot hides."""

BY_FOLDERS = {"__macosx"}
"""The names of folders, in lower case, that are skipped: a class may be called "license"."""

_WITHOUT_A_MARK = {"TGA"}  # formats without magic bytes


class FileKind(Enum):
    """The kind of a file in a folder of images."""

    IMAGE = "an image"
    BY_FILE = "skipped"
    UNKNOWN = "unknown"


def is_skipped(name: str, *, is_folder: bool) -> bool:
    """Whether a file or a folder of this name is hidden, or known to hold no images."""
    return name.startswith(".") or name.lower() in (BY_FOLDERS if is_folder else BY_NAMES)


def file_kind(name: str) -> FileKind:
    """The kind of a file in a folder of images, by its name."""
    if name.endswith("~"):  # an editor's copy
        return FileKind.BY_FILE
    extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path takes ten times as long
    if is_skipped(name, is_folder=False) or extension in BY_FILES:
        return FileKind.BY_FILE
    return FileKind.IMAGE if extension in IMAGES else FileKind.UNKNOWN


def why_no_image(name: str) -> str:
    """The message about a file that is no image by its name and its content."""
    if name.lower().endswith((".heic", ".heif")):
        return "is HEIC, which is not read: export it as JPEG"
    return "is no image, neither by its extension nor by its content"


def begins_as_an_image(source: Path | IO[bytes]) -> bool:
    """Whether the first bytes are those of an image, whatever its name; nothing is decoded."""
    from PIL import Image

    try:
        with Image.open(source, formats=[f for f in formats() if f not in _WITHOUT_A_MARK]):
            return True
    # Pillow's plugins raise whatever a file drives them into.
    except Exception:
        return False


@cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow has."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
