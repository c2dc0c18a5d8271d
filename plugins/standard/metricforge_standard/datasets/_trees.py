"""The folders of a tree that hold images, on disk or in an archive."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath

from metricforge.data.archive import below_shared, read_archive
from metricforge.data.exclusion import Exclusion
from metricforge.data.folder_walk import walk
from metricforge.data.image_files import Chosen, Encoded, Paths
from metricforge.data.skipped_files import asides
from metricforge.errors import DataError, UsageError
from metricforge_standard.datasets._notes import counted


@dataclass(frozen=True)
class Tree:
    """The number of images in each folder, by its path, and the images of folders in an order.

    `notes` are on files and folders that hold no images, `asides` on known ones beside them.
    """

    counts: Mapping[str, int]
    images: Callable[[Sequence[str]], Sequence[Encoded]]
    notes: tuple[str, ...] = ()
    asides: tuple[str, ...] = ()


def read_tree(
    path: Path, index: Path | None, exclude: str, *, skip: bool, follow: bool = False
) -> Tree:
    """The tree of a folder or an archive; `skip` files that are no images, or DataError.

    With `follow` links of a folder may lead out of it.

    UsageError for a pattern of `exclude` that matches nothing.
    """
    excluded = Exclusion(exclude)
    unknown: list[str] | None = [] if skip else None
    if path.is_dir():
        tree = _of_folder(path, index, unknown, excluded, follow)
    else:
        tree = _of_archive(path, unknown, excluded)
    if unmatched := excluded.unmatched():
        named = ", ".join(f"'{pattern}'" for pattern in unmatched)
        raise UsageError(f"option 'exclude' of dataset 'folder': nothing matches {named}.")
    notes = [
        *tree.notes,
        *([f"files that are no images, skipped: {counted(unknown)}."] if unknown else []),
        *([f"excluded files and folders: {excluded.count}."] if excluded.count else []),
    ]
    # A tree with an index takes long to list: it is not listed again to count by-files.
    beside = tuple(asides(path, excluded)) if path.is_dir() and not index else ()
    return replace(tree, notes=tuple(notes), asides=beside)


def _of_folder(
    path: Path,
    index: Path | None,
    unknown: list[str] | None,
    exclude: Exclusion,
    follow: bool,
) -> Tree:
    strays: list[Path] | None = None if unknown is None else []
    folders_below = walk(path, index, strays, exclude, follow)
    walked = {each.path.relative_to(path).as_posix(): each for each in folders_below}
    if unknown is not None:
        unknown += (stray.relative_to(path).as_posix() for stray in strays or ())
    outputs = [name for name, each in walked.items() if each.is_output]
    folders = {name: each for name, each in walked.items() if not each.is_output}
    loose = folders.pop(".")
    if loose.names:
        raise _loose(str(path / loose.names[0]))
    empty = [name for name, each in folders.items() if not each.names]
    folders = {name: each for name, each in folders.items() if each.names}
    above = below_shared(f"{name}/" for name in folders)
    notes = (*_of_outputs(outputs), *_of_empty(empty, [*folders, *outputs]))
    folders = {name.removeprefix(above): each for name, each in folders.items()}
    counts = {name: len(each.names) for name, each in folders.items()}

    def images(order: Sequence[str]) -> Paths:
        paths = Paths()
        for name in order:
            paths.add(folders[name].path, folders[name].names, folders[name].sizes)
        return paths

    return Tree(counts, images, notes)


def _of_archive(path: Path, unknown: list[str] | None, exclude: Exclusion) -> Tree:
    members = read_archive(path, unknown, exclude)
    above = below_shared(members.paths)
    indices: dict[str, array[int]] = {}
    for index, name in enumerate(members.paths):
        label, slash, _ = name.removeprefix(above).rpartition("/")
        if not slash:
            raise _loose(members[index].name)
        indices.setdefault(label, array("q")).append(index)

    def images(order: Sequence[str]) -> Chosen:
        return Chosen(members, array("q", chain.from_iterable(indices[name] for name in order)))

    return Tree({name: len(each) for name, each in indices.items()}, images)


def _of_outputs(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"folders that metricforge wrote (runs, models, indexes), skipped: {counted(names)}."


def _of_empty(names: Sequence[str], enclosed: Sequence[str]) -> Iterator[str]:
    """A note on folders without images that enclose no others and none of `enclosed`."""
    around = {str(parent) for name in (*names, *enclosed) for parent in PurePosixPath(name).parents}
    if empty := [name for name in names if name not in around]:
        yield f"folders without images, which are no classes: {counted(empty)}."


def _loose(image: str) -> DataError:
    return DataError(f"'{image}' has no class; move it into a folder named for its class.")
