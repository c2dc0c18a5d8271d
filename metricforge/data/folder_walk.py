"""A tree of folders with images, walked without leaving it, and an index of it on disk."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metricforge.data.class_names import natural_key
from metricforge.data.filetypes import (
    FileKind,
    begins_as_an_image,
    file_kind,
    is_skipped,
)
from metricforge.data.own_outputs import is_output
from metricforge.data.tree_index import Listing, TreeIndex
from metricforge.errors import DataError, few


@dataclass(frozen=True)
class Folder:
    """The images directly in a folder, by name; `sizes` in bytes, where they were read.

    `is_output`: metricforge wrote it, as a run or an index, and nothing in it is an image.
    """

    path: Path
    names: Sequence[str]
    sizes: Sequence[int] | None = None
    is_output: bool = False


def walk(
    root: Path,
    index: Path | None = None,
    unknown: list[Path] | None = None,
    exclude: Callable[[str], bool] | None = None,
    follow: bool = False,
) -> Iterator[Folder]:
    """Each folder of the tree, `root` first, with the images in it; both in natural order.

    An image is a file with an image's extension or first bytes. With `index`, a file that is
    created if it is missing, folders that have not changed since are not read again: it keeps names
    and sizes, and misses files that are overwritten. Raises DataError for a link that leads
    nowhere, out of `root` or to a folder that is walked anyway. Files that are neither images nor
    known by-files, and pipes and devices, are added to `unknown`, or else are a DataError at the
    end, which names them. Below `root`, metricforge's own outputs are skipped: the folders of runs,
    models and indexes. `exclude` returns whether a path below `root` is skipped. With `follow`
    links may lead out of `root`.
    """
    strays: list[Path] = [] if unknown is None else unknown
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
            within = None if follow else top
            listing = _listing(path, within, with_sizes=known is not None, is_root=path == root)
            if known and not listing.unknown:
                known.put(path, listing)
        if exclude:
            listing = _less(listing, path.relative_to(root), exclude)
        strays += (path / name for name in listing.unknown)
        yield Folder(path, listing.images, listing.sizes, listing.is_output)
        for name in reversed(listing.folders):
            below = path / name
            # Without links in a folder, its subfolders are at the path of their names.
            resolved_below = below.resolve() if listing.links else resolved / name
            waiting.append((below, resolved_below))
    if strays and unknown is None:
        raise _no_images(strays)
    if known:
        known.save()


def _less(listing: Listing, folder: Path, exclude: Callable[[str], bool]) -> Listing:
    """A listing without entries whose paths below the root are excluded."""

    def remaining(names: Sequence[str]) -> list[int]:
        return [i for i, name in enumerate(names) if not exclude((folder / name).as_posix())]

    images, sizes = remaining(listing.images), listing.sizes
    return replace(
        listing,
        folders=[listing.folders[i] for i in remaining(listing.folders)],
        images=[listing.images[i] for i in images],
        sizes=None if sizes is None else array("q", [sizes[i] for i in images]),
        unknown=[listing.unknown[i] for i in remaining(listing.unknown)],
    )


def _listing(folder: Path, root: Path | None, with_sizes: bool, is_root: bool) -> Listing:
    """The entries of a folder that are not skipped; no link may lead out of the path `root`."""
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
        elif (kind := _kind(folder, entry)) is FileKind.UNKNOWN:
            listing.unknown.append(entry.name)
        elif kind is FileKind.IMAGE:
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


def _kind(folder: Path, entry: os.DirEntry[str]) -> FileKind:
    kind = file_kind(entry.name)
    if kind is FileKind.BY_FILE:
        return kind
    # Opening a pipe would block until somebody writes to it.
    if not entry.is_file():
        return FileKind.UNKNOWN
    if kind is FileKind.UNKNOWN and begins_as_an_image(folder / entry.name):
        return FileKind.IMAGE
    return kind


def _no_images(strays: Sequence[Path]) -> DataError:
    names = few([f"'{path}'" for path in strays])
    count = f"{len(strays):,} files are" if len(strays) > 1 else "1 file is"
    return DataError(
        f"{count} neither images, by extension or content, nor known to lie beside them: "
        f"{names}; take them away, hide them with a dot before their names, or skip them with "
        "broken=skip."
    )


def _check_link(path: Path, root: Path | None) -> None:
    try:
        target = path.resolve(strict=True)
    # RuntimeError is what Python raised for links that lead to each other before 3.13.
    except (OSError, RuntimeError) as error:
        raise DataError(f"link '{path}' leads nowhere; remove it.") from error
    if root is not None and not target.is_relative_to(root):
        raise DataError(
            f"link '{path}' leads out of the folder; copy what it means into it, or follow links "
            "with links=follow."
        )
