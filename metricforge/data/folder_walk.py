"""A tree of folders with images, walked without leaving it, and an index of it on disk."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metricforge.data.class_names import natural_key
from metricforge.data.filetypes import (
    Taken,
    begins_as_an_image,
    is_passed_over,
    taken_for,
    why_no_image,
)
from metricforge.data.own_outputs import is_output
from metricforge.data.tree_index import Listing, TreeIndex
from metricforge.errors import DataError


@dataclass(frozen=True)
class Folder:
    """The images that lie in a folder itself, by name; `sizes` in bytes, where they were asked.

    `is_output`: metricforge wrote it, as a run or an index, and nothing in it is an image.
    """

    path: Path
    names: Sequence[str]
    sizes: Sequence[int] | None = None
    is_output: bool = False


def walk(root: Path, index: Path | None = None) -> Iterator[Folder]:
    """Each folder of the tree, `root` first, with the images in it; both in natural order.

    An image is a file with the extension of one, or that begins like one. With `index`, a file
    that is made where it is not there, folders that have not changed since are not read again: it
    keeps names and sizes, and does not notice what is changed in place. Raises DataError for a
    link that leads nowhere, out of `root` or to a folder that is walked anyway, and for a file
    that is neither an image nor a known by-file, or no regular file. Below `root`, what metricforge
    wrote is not walked: a run's folder, a model's, an index's.
    """
    known = TreeIndex.read(index, root) if index else None
    top = root.resolve()
    waiting, reached = [(root, top)], {top}
    while waiting:
        path, place = waiting.pop()
        # Of two ways to a folder only one may count, or links to links to links are walked twice
        # as often at each, and one class is taken for two.
        if path != root and place in reached:
            raise DataError(f"folder '{path}' is reached again through a link; remove the link.")
        reached.add(place)
        found = known.get(path) if known else None
        if found is None:
            found = _listing(path, top, with_sizes=known is not None, is_root=path == root)
            if known:
                known.put(path, found)
        yield Folder(path, found.images, found.sizes, found.is_output)
        for name in reversed(found.folders):
            below = path / name
            # Without links below it, a folder lies where its name says.
            place_below = below.resolve() if found.links else place / name
            waiting.append((below, place_below))
    if known:
        known.save()


def _listing(folder: Path, root: Path, with_sizes: bool, is_root: bool) -> Listing:
    """What is in a folder, by name, less what is skipped; `root` is the tree's own place."""
    found = Listing(_changed(folder), [], [], array("q") if with_sizes else None)
    entries = _entries(folder)
    if not is_root and is_output([entry.name for entry in entries]):
        found.is_output = True
        return found
    for entry in entries:
        path = folder / entry.name if entry.is_symlink() else None
        if path:
            _check_link(path, root)
            found.links = True
        if entry.is_dir():
            found.folders.append(entry.name)
        elif _is_image(folder, entry):
            found.images.append(entry.name)
            if found.sizes is not None:
                found.sizes.append(entry.stat().st_size)
    return found


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError as error:
        raise DataError(f"folder '{folder}' can't be read ({error.strerror}).") from error


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            shown = [e for e in entries if not is_passed_over(e.name, is_folder=_is_folder(e))]
    except OSError as error:
        raise DataError(f"folder '{folder}' can't be read ({error.strerror}).") from error
    for entry in shown:
        # Python smuggles in bytes that are no text as surrogates, which can't be written again.
        if not entry.name.isascii() and any("\ud800" <= sign <= "\udfff" for sign in entry.name):
            raise DataError(f"{entry.name!a} in '{folder}' is not named in UTF-8; rename it.")
    return sorted(shown, key=lambda entry: natural_key(entry.name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_image(folder: Path, entry: os.DirEntry[str]) -> bool:
    taken, path = taken_for(entry.name), folder / entry.name
    # To open a pipe waits until somebody writes to it.
    if taken is not Taken.BY_FILE and not entry.is_file():
        raise DataError(
            f"'{path}' is no regular file, but a pipe, a socket or a device; take it away."
        )
    if taken is Taken.UNKNOWN and not begins_as_an_image(path):
        raise DataError(
            f"'{path}' {why_no_image(entry.name)}; take it away, or hide it with a dot before its "
            "name."
        )
    return taken is not Taken.BY_FILE


def _check_link(path: Path, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    # RuntimeError is what Python raised for links that lead to each other before 3.13.
    except (OSError, RuntimeError) as error:
        raise DataError(f"link '{path}' leads nowhere; remove it.") from error
    if not target.is_relative_to(root):
        raise DataError(f"link '{path}' leads out of the folder; copy what it means into it.")
