"""The kind of a file in a folder of images, by its name or else by its content."""

from __future__ import annotations

import os
from enum import Enum
from functools import cache
from importlib.util import find_spec
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

HEIF = {".heic", ".heics", ".heif", ".heifs", ".hif"}
"""The extensions, in lower case, of phones' images, which are read if pillow-heif is installed."""

UNREAD = {
    ".ai", ".arw", ".cr2", ".cr3", ".dng", ".eps", ".jxl", ".nef", ".nrw", ".orf", ".pef", ".psd",
    ".raf", ".rw2", ".srw", ".svg",
}  # fmt: skip
"""The extensions, in lower case, of images that are not read: camera raws and drawings."""

BY_FILES = UNREAD | {
    ".aae", ".avi", ".ini", ".lrcat", ".m4v", ".md5", ".mkv", ".mov", ".mp3", ".mp4", ".mts",
    ".sha1", ".sha256", ".wav", ".webm", ".xmp",
    ".csv", ".doc", ".docx", ".html", ".ipynb", ".json", ".jsonl", ".lnk", ".log", ".mat", ".md",
    ".ods", ".odt", ".pdf", ".ppt", ".pptx", ".py", ".rst", ".toml", ".tsv", ".txt", ".url",
    ".xls", ".xlsx", ".xml", ".yaml", ".yml",
    ".ckpt", ".h5", ".npy", ".npz", ".onnx", ".parquet", ".pickle", ".pkl", ".pt", ".pth",
    ".safetensors",
    ".crdownload", ".part", ".tmp",
}  # fmt: skip
"""The extensions, in lower case, of files that lie beside images and are skipped: films, documents,
tables, tensors, downloads that have not ended."""

BY_NAMES = {
    "copying", "desktop.ini", "ehthumbs.db", "icon\r", "licence", "license", "readme", "thumbs.db",
}  # fmt: skip
"""The names of files, in lower case, that are skipped, as is all that a dot hides."""

BY_FOLDERS = {
    "#recycle", "#snapshot", "$recycle.bin", "@eadir", "__macosx", "__pycache__", "lost+found",
    "system volume information",
}  # fmt: skip
"""The names of folders, in lower case, that are skipped: those that systems and network storage
make. A class may be called "license"."""

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
    if extension in HEIF:
        return FileKind.IMAGE if reads_heif() else FileKind.BY_FILE
    if is_skipped(name, is_folder=False) or extension in BY_FILES:
        return FileKind.BY_FILE
    return FileKind.IMAGE if extension in IMAGES else FileKind.UNKNOWN


def begins_as_an_image(source: Path | IO[bytes]) -> bool:
    """Whether the first bytes are those of an image, whatever its name; nothing is decoded."""
    from PIL import Image

    from metricforge.data.pillow_settings import decoding

    with decoding():
        try:
            with Image.open(source, formats=[f for f in formats() if f not in _WITHOUT_A_MARK]):
                return True
        # Pillow's plugins raise whatever a file drives them into.
        except Exception:
            return False


@cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow has, and HEIF if pillow-heif is installed."""
    from PIL import Image

    Image.init()
    if reads_heif():
        import pillow_heif

        pillow_heif.register_heif_opener()
    return tuple(name for name in (*FORMATS, "HEIF") if name in Image.OPEN)


@cache
def reads_heif() -> bool:
    """Whether pillow-heif, of the extra `photos`, is installed."""
    return find_spec("pillow_heif") is not None
