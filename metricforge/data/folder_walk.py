"""A tree of folders with images, walked without leaving it, and an index of it on disk."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metricforge.data.class_names import natural_key
from metricforge.data.filetypes import (
    FileKind,
    begins_as_an_image,
    file_kind,
    is_skipped,
    why_no_image,
)
from metricforge.data.own_outputs import is_output
from metricforge.data.tree_index import Listing, TreeIndex
from metricforge.errors import DataError


@dataclass(frozen=True)
class Folder:
    """The images directly in a folder, by name; `sizes` in bytes, where they were read.

    `is_output`: metricforge wrote it, as a run or an index, and nothing in it is an image.
    """

    path: Path
    names: Sequence[str]
    sizes: Sequence[int] | None = None
    is_output: bool = False


def walk(root: Path, index: Path | None = None) -> Iterator[Folder]:
    """Each folder of the tree, `root` first, with the images in it; both in natural order.

    An image is a file with an image's extension or first bytes. With `index`, a file that is
    created if it is missing, folders that have not changed since are not read again: it keeps names
    and sizes, and misses files that are overwritten. Raises DataError for a link that leads
    nowhere, out of `root` or to a folder that is walked anyway, and for a file that is neither an
    image nor a known by-file, or no regular file. Below `root`, metricforge's own outputs are
    skipped: the folders of runs, models and indexes.
    """
    known = TreeIndex.read(index, root) if index else None
    top = root.resolve()
    waiting, visited = [(root, top)], {top}
    while waiting:
        path, resolved = waiting.pop()
        # Only one path to a folder may count: links to links would double the walk at each level,
        # and make two classes of one.
        if path != root and resolved in visited:
            raise DataError(f"folder '{path}' is reached again through a link; remove the link.")
        visited.add(resolved)
        listing = known.get(path) if known else None
        if listing is None:
            listing = _listing(path, top, with_sizes=known is not None, is_root=path == root)
            if known:
                known.put(path, listing)
        yield Folder(path, listing.images, listing.sizes, listing.is_output)
        for name in reversed(listing.folders):
            below = path / name
            # Without links in a folder, its subfolders are at the path of their names.
            resolved_below = below.resolve() if listing.links else resolved / name
            waiting.append((below, resolved_below))
    if known:
        known.save()


def _listing(folder: Path, root: Path, with_sizes: bool, is_root: bool) -> Listing:
    """The entries of a folder that are not skipped; `root` is the tree's resolved path."""
    listing = Listing(_changed(folder), [], [], array("q") if with_sizes else None)
    entries = _entries(folder)
    if not is_root and is_output([entry.name for entry in entries]):
        listing.is_output = True
        return listing
    for entry in entries:
        path = folder / entry.name if entry.is_symlink() else None
        if path:
            _check_link(path, root)
            listing.links = True
        if entry.is_dir():
            listing.folders.append(entry.name)
        elif _is_image(folder, entry):
            listing.images.append(entry.name)
            if listing.sizes is not None:
                listing.sizes.append(entry.stat().st_size)
    return listing


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError as error:
        raise DataError(f"folder '{folder}' can't be read ({error.strerror}).") from error


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            shown = [e for e in entries if not is_skipped(e.name, is_folder=_is_folder(e))]
    except OSError as error:
        raise DataError(f"folder '{folder}' can't be read ({error.strerror}).") from error
    for entry in shown:
        # Python decodes bytes that are no text to surrogates, which can't be written again.
        if not entry.name.isascii() and any("\ud800" <= sign <= "\udfff" for sign in entry.name):
            raise DataError(f"{entry.name!a} in '{folder}' is not named in UTF-8; rename it.")
    return sorted(shown, key=lambda entry: natural_key(entry.name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_image(folder: Path, entry: os.DirEntry[str]) -> bool:
    kind, path = file_kind(entry.name), folder / entry.name
    # Opening a pipe would block until somebody writes to it.
    if kind is not FileKind.BY_FILE and not entry.is_file():
        raise DataError(
            f"'{path}' is no regular file, but a pipe, a socket or a device; take it away."
        )
    if kind is FileKind.UNKNOWN and not begins_as_an_image(path):
        raise DataError(
            f"'{path}' {why_no_image(entry.name)}; take it away, or hide it with a dot before its "
            "name."
        )
    return kind is not FileKind.BY_FILE


def _check_link(path: Path, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    # RuntimeError is what Python raised for links that lead to each other before 3.13.
    except (OSError, RuntimeError) as error:
        raise DataError(f"link '{path}' leads nowhere; remove it.") from error
    if not target.is_relative_to(root):
        raise DataError(f"link '{path}' leads out of the folder; copy what it means into it.")
