"""What a tree of folders held when it was last read, so that only what changed is read again."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metricforge.atomic_files import parsed, write_file
from metricforge.errors import ArtefactError

FORMAT = "metricforge index 2"
EARLIER = "metricforge index 1"
"""With names in the order of text; such an index is made anew."""

_JUST_NOW = 2 * 10**9
"""Nanoseconds within which a file system may give two changes one time."""


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
                header = parsed(next(lines, "{}"))
                if header.get("format") == EARLIER:
                    return cls(path, root, {})
                if header.get("format") != FORMAT:
                    raise ValueError("another format")
                listings = dict(map(_read, lines)) if header["root"] == str(root.resolve()) else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ArtefactError(
                f"{path} is no index of a folder, or damaged; delete it to have it made anew."
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
    name, changed, folders, images, sizes, *more = parsed(line)
    # What stands in the file is as little to be trusted as any: it must not lead elsewhere.
    lists = all(isinstance(each, list) for each in (folders, images, sizes))
    if not lists or not all(map(_is_a_name, (*folders, *images))) or len(images) != len(sizes):
        raise ValueError("a name that is none")
    return name, Listing(int(changed), folders, images, array("q", sizes), is_output=more == [True])


def _is_a_name(name: Any) -> bool:
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    name.encode()  # a surrogate is a ValueError
    return True
