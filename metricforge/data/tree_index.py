"""An index of a tree of folders as last read, so that only changed folders are read again."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from metricforge.atomic_files import write_file
from metricforge.decoding import Count, decoded
from metricforge.errors import ArtefactError
from metricforge.regular_file import open_regular

FORMAT = "metricforge index 2"
EARLIER = "metricforge index 1"
"""Has names in the order of text; such an index is rebuilt."""

_JUST_NOW = 2 * 10**9
"""Nanoseconds within which a file system may give two changes one time."""

# The file is not trusted: a name must not lead out of its folder.
_Name = Annotated[str, Meta(pattern=r"\A(?!\.{1,2}\Z)[^/\0\ud800-\udfff]+\Z")]


class _Line(NamedTuple):
    name: str
    changed: int
    folders: list[_Name]
    images: list[_Name]
    sizes: list[Count]
    is_output: bool = False


@dataclass
class Listing:
    """The entries of a folder: when it last changed (ns), its folders, images, their sizes.

    `links`: an entry is a link, whose target may change without the folder.
    `is_output`: metricforge wrote it, and it holds no images.
    `unknown`: files that are no images and not known to lie beside them; none in an index.
    """

    changed: int
    folders: list[str]
    images: list[str]
    sizes: array[int] | None
    links: bool = False
    is_output: bool = False
    unknown: list[str] = field(default_factory=list)


class TreeIndex:
    """The listings of the folders below `root`, kept in a file of JSON lines."""

    def __init__(self, path: Path, root: Path, listings: dict[str, Listing]) -> None:
        self._path, self._root = path, root
        self._listings, self._visited = listings, dict[str, Listing]()

    @classmethod
    def read(cls, path: Path, root: Path) -> TreeIndex:
        """The index in a file, or an empty one; ArtefactError for a file that is no index."""
        if not path.exists():
            return cls(path, root, {})
        try:
            with TextIOWrapper(open_regular(path), "utf-8") as lines:
                header = decoded(next(lines, ""), dict[str, Any])
                if header.get("format") not in (FORMAT, EARLIER):
                    raise ValueError("another format")
                known = (header["format"], header.get("root")) == (FORMAT, str(root.resolve()))
                listings = dict(map(_read, lines)) if known else {}
        except (OSError, ValueError) as error:
            raise ArtefactError(
                f"{path} is no index of a folder, or damaged ({error}); delete it to have it made "
                "anew."
            ) from error
        return cls(path, root, listings)

    def get(self, folder: Path) -> Listing | None:
        """The listing of `folder`, if the index has it and it has not changed."""
        name = folder.relative_to(self._root).as_posix()
        listing = self._listings.get(name)
        if listing is None or listing.links:
            return None
        try:
            if folder.stat().st_mtime_ns != listing.changed:
                return None
        except OSError:
            return None
        self._visited[name] = listing
        return listing

    def put(self, folder: Path, listing: Listing) -> None:
        """Record the listing of `folder`."""
        self._visited[folder.relative_to(self._root).as_posix()] = listing

    def save(self) -> None:
        """Write the listings of this walk, if they differ from those in the file."""
        if self._visited.keys() == self._listings.keys() and all(
            listing is self._listings[name] for name, listing in self._visited.items()
        ):
            return
        header = {"format": FORMAT, "root": str(self._root.resolve())}
        lines = [json.dumps(header), *self._lines(time.time_ns() - _JUST_NOW)]
        write_file(self._path, "\n".join(lines) + "\n")

    def _lines(self, settled: int) -> Iterator[str]:
        for name, listing in self._visited.items():
            # A further change within the clock's resolution would not show.
            changed = 0 if listing.links or listing.changed > settled else listing.changed
            sizes = list(listing.sizes or ())
            more = [True] if listing.is_output else []
            yield json.dumps([name, changed, listing.folders, listing.images, sizes, *more])


def _read(line: str) -> tuple[str, Listing]:
    name, changed, folders, images, sizes, is_output = decoded(line, _Line)
    if len(images) != len(sizes):
        raise ValueError("not as many sizes as images")
    return name, Listing(changed, folders, images, array("q", sizes), is_output=is_output)
