"""A tree of folders, walked without leaving it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from metricforge.errors import DataError

IMAGES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
IMAGES |= {".pgm", ".ppm", ".pbm", ".pnm", ".jp2"}
"""The extensions of images, in lower case."""

BY_FILES = {".txt", ".md", ".rst", ".pdf", ".html", ".csv", ".tsv", ".json", ".jsonl", ".xml"}
BY_FILES |= {".yaml", ".yml", ".toml", ".mat", ".log"}
"""The extensions, in lower case, of what lies beside images and is passed over."""

BY_NAMES = {"thumbs.db", "desktop.ini", "readme", "license", "licence", "copying", "__macosx"}
"""The names, in lower case, that are passed over, as is all that a dot hides."""


def walk(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Each folder of the tree, `root` first, with the images in it; both sorted by name.

    Raises DataError for a link that leads nowhere, out of `root` or around in a loop, and for a
    file that is neither an image nor a known by-file.
    """
    return _walk(root, (root.resolve(),))


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, list[Path]]]:
    """As `walk`, of a folder whose own place and those it was reached through are `above`."""
    images, folders = [], []
    for entry in _entries(folder):
        path = folder / entry.name
        if entry.is_symlink():
            _check_link(path, above[0])
        if entry.is_dir():
            folders.append(path)
        elif path.suffix.lower() in IMAGES:
            images.append(path)
        elif path.suffix.lower() not in BY_FILES:
            raise DataError(
                f"'{path}' is no image that is known by its extension; take it away, or hide it "
                "with a dot before its name."
            )
    yield folder, images
    for path in folders:
        place = path.resolve()
        if place in above:
            raise DataError(f"folder '{path}' is reached again through a link; remove the link.")
        yield from _walk(path, (*above, place))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name, less what is hidden or passed over."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"folder '{folder}' can't be read ({error.strerror}).") from error
    shown = [e for e in found if not e.name.startswith(".") and e.name.lower() not in BY_NAMES]
    for entry in shown:
        # Python smuggles in bytes that are no text as surrogates, which can't be written again.
        if any("\ud800" <= sign <= "\udfff" for sign in entry.name):
            raise DataError(f"{entry.name!a} in '{folder}' is not named in UTF-8; rename it.")
    return shown


def _check_link(path: Path, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    # RuntimeError is what Python raised for links that lead to each other before 3.13.
    except (OSError, RuntimeError) as error:
        raise DataError(f"link '{path}' leads nowhere; remove it.") from error
    if not target.is_relative_to(root):
        raise DataError(f"link '{path}' leads out of the folder; copy what it means into it.")
