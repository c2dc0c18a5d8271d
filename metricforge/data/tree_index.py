"""What a tree of folders held when it was last read, so that only what changed is read again."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from metricforge.atomic_files import write_file
from metricforge.decoding import Count, decoded
from metricforge.errors import ArtefactError

FORMAT = "metricforge index 2"
EARLIER = "metricforge index 1"
"""With names in the order of text; such an index is made anew."""

_JUST_NOW = 2 * 10**9
"""Nanoseconds within which a file system may give two changes one time."""

# What stands in the file is as little to be trusted as any: a name must not lead elsewhere.
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
    """What lies in a folder: when it last changed (ns), its folders, images, their sizes.

    `links`: one of them is a link, so that what it means may change without the folder.
    `is_output`: metricforge wrote it, and it holds no images.
    """

    changed: int
    folders: list[str]
    images: list[str]
    sizes: array[int] | None
    links: bool = False
    is_output: bool = False


class TreeIndex:
    """The listings of the folders below `root`, kept in a file of JSON lines."""

    def __init__(self, path: Path, root: Path, listings: dict[str, Listing]) -> None:
        self._path, self._root = path, root
        self._listings, self._seen = listings, dict[str, Listing]()

    @classmethod
    def read(cls, path: Path, root: Path) -> TreeIndex:
        """The index in a file, or an empty one; ArtefactError for what is no index of `root`."""
        if not path.exists():
            return cls(path, root, {})
        try:
            with path.open(encoding="utf-8") as lines:
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
        """What is in `folder`, where the index knows it and it has not changed."""
        name = folder.relative_to(self._root).as_posix()
        found = self._listings.get(name)
        if found is None or found.links:
            return None
        try:
            if folder.stat().st_mtime_ns != found.changed:
                return None
        except OSError:
            return None
        self._seen[name] = found
        return found

    def put(self, folder: Path, listing: Listing) -> None:
        """Take down what is in `folder`."""
        self._seen[folder.relative_to(self._root).as_posix()] = listing

    def save(self) -> None:
        """Write what this walk has seen, where it is other than what was read."""
        if self._seen.keys() == self._listings.keys() and all(
            listing is self._listings[name] for name, listing in self._seen.items()
        ):
            return
        header = {"format": FORMAT, "root": str(self._root.resolve())}
        lines = [json.dumps(header), *self._lines(time.time_ns() - _JUST_NOW)]
        write_file(self._path, "\n".join(lines) + "\n")

    def _lines(self, settled: int) -> Iterator[str]:
        for name, found in self._seen.items():
            # Of a folder that has changed just now, another change might not show.
            changed = 0 if found.links or found.changed > settled else found.changed
            sizes = list(found.sizes or ())
            more = [True] if found.is_output else []
            yield json.dumps([name, changed, found.folders, found.images, sizes, *more])


def _read(line: str) -> tuple[str, Listing]:
    name, changed, folders, images, sizes, is_output = decoded(line, _Line)
    if len(images) != len(sizes):
        raise ValueError("not as many sizes as images")
    return name, Listing(changed, folders, images, array("q", sizes), is_output=is_output)
