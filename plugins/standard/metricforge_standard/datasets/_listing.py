"""A CSV file that lists images: its rows, read one by one, or one sentence that says why not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from csv import Error, reader
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from metricforge.contracts import TEST, TRAIN, VALIDATION
from metricforge.errors import DataError

_PARTS = {"train": TRAIN, "validation": VALIDATION, "val": VALIDATION, "test": TEST}
_EMPTY = ("", "nan")  # pandas writes either for what is not there
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_FLAGS |= dict.fromkeys(_EMPTY, False)


@dataclass
class Listing:
    """The parsed cells of each column that is known, and the lines (from 1) their rows begin in.

    `columns` has of these what the file has: "path" (Paths that are there), "label", "split"
    (values of `Dataset.official`), "group" (empty strings where there is none), "is_query" and
    "is_gallery" (both or neither). `unused` are the other columns' names.
    """

    path: Path
    columns: dict[str, list[Any]]
    unused: Sequence[str]
    rows: list[int] = field(default_factory=list)


def read_listing(path: Path) -> Listing:
    """What the file says of each image; DataError, naming the row, for what can't be used."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            listing = _parsed(_rows(reader(file, strict=True), path), path)
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"'{path}' can't be read as text in UTF-8 ({error}).") from error
    _check_listed_once(listing)
    return listing


def _rows(lines: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a `csv.reader` that are not blank, each with the line it begins in."""
    begins = 1
    try:
        for cells in lines:
            if cells:
                yield begins, cells
            begins = lines.line_num + 1
    except Error as error:
        raise DataError(
            f"{path}:{begins} is no row of a CSV ({error}); mend its quotes."
        ) from error


def _parsed(rows: Iterator[tuple[int, list[str]]], path: Path) -> Listing:
    _, header = next(rows, (1, []))
    places, parsers = _places(header, path), _parsers(path)
    unused = [name for place, name in enumerate(header) if place not in places.values()]
    listing = Listing(path, {name: [] for name in places}, unused)
    for row, cells in rows:
        if len(cells) != len(header):
            raise DataError(f"{path}:{row} has {len(cells)} cells, but the header {len(header)}.")
        listing.rows.append(row)
        for name, place in places.items():
            try:
                listing.columns[name].append(parsers[name](cells[place]))
            except ValueError as error:
                raise DataError(f"{path}:{row} {error}") from error
    return listing


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    """Where each column that is known stands; DataError for one that lacks or is there twice."""
    has = f"it has {', '.join(map(repr, header)) or 'none'}"
    missing = [f"'{name}'" for name in ("path", "label") if name not in header]
    if missing:
        raise DataError(f"'{path}' has no column {' and no '.join(missing)}; {has}.")
    flags = [name for name in ("is_query", "is_gallery") if name in header]
    if len(flags) == 1:
        raise DataError(f"'{path}' has the column '{flags[0]}' alone; give both or neither.")
    written = {name: name for name in _parsers(path) if name in header}
    if "category" in header:
        written.setdefault("group", "category")
    for name in written.values():
        if header.count(name) > 1:
            raise DataError(f"'{path}' has the column '{name}' twice; {has}.")
    return {name: header.index(column) for name, column in written.items()}


def _parsers(path: Path) -> Mapping[str, Callable[[str], Any]]:
    """What reads a cell of each column; its ValueErrors say what is wrong with a row."""
    return {
        "path": partial(_image, path.parent.absolute()),
        "label": _label,
        "split": partial(_chosen, "split", _PARTS),
        "group": lambda cell: "" if _is_empty(cell) else cell,
        "is_query": partial(_chosen, "is_query", _FLAGS),
        "is_gallery": partial(_chosen, "is_gallery", _FLAGS),
        **dict.fromkeys(("x_1", "x_2", "y_1", "y_2"), _no_box),
    }


def _image(folder: Path, cell: str) -> Path:
    if _is_empty(cell):
        raise ValueError("has no path; name its image, or take the row away.")
    image = folder / cell
    try:
        there, why = image.is_file(), "is no file that is there"
    except OSError as error:
        there, why = False, f"can't be reached ({error.strerror})"
    if not there:
        raise ValueError(f"names the image '{cell}', which {why}; paths begin at '{folder}'.")
    return image


def _label(cell: str) -> str:
    if _is_empty(cell):
        raise ValueError("has no label; name the class of its image, or take the row away.")
    return cell


def _chosen(column: str, known: Mapping[str, int], cell: str) -> int:
    value = cell.strip().lower()
    if value not in known:
        raise ValueError(f"has '{cell}' for {column}; choices: {', '.join(filter(None, known))}.")
    return known[value]


def _no_box(cell: str) -> None:
    if not _is_empty(cell):
        raise ValueError("has a bounding box: crops aren't supported yet; list images cut to it.")


def _is_empty(cell: str) -> bool:
    return cell.strip().lower() in _EMPTY


def _check_listed_once(listing: Listing) -> None:
    seen: dict[str, int] = {}
    for row, image in zip(listing.rows, listing.columns["path"], strict=True):
        first = seen.setdefault(os.path.normpath(image), row)
        if first != row:
            raise DataError(
                f"{listing.path}:{row} names the image of row {first} again, '{image}'; keep one."
            )
