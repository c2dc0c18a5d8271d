"""A CSV file with a header, read into columns; what can't be used is named by its row."""

from __future__ import annotations

import codecs
import csv
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeAlias

from metricforge.errors import DataError
from metricforge.regular_file import open_regular

Parser: TypeAlias = Callable[[str], Any]
"""A cell to its value; the message of its ValueError follows the row: "has no label"."""

FLAGS = ("is_query", "is_gallery")
"""The columns of which a file has both or neither."""

_SEPARATORS = (",", ";", "\t")
_EMPTY = ("", "nan")  # pandas writes either for what is not there
_KNOWN = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_KNOWN |= dict.fromkeys(_EMPTY, False)


class Column(Protocol):
    """A collector of the values of a column."""

    def append(self, value: Any, /) -> None:
        """Append a value."""


@dataclass
class Table:
    """The parsed cells of each known column, and the lines (from 1) that their rows begin in.

    `columns` has the known columns that the file has; `unused` are the other columns' names.
    """

    path: Path
    columns: dict[str, Any]
    unused: Sequence[str]
    rows: array[int] = field(default_factory=partial(array, "q"))


def read_table(
    path: Path,
    parsers: Mapping[str, Parser],
    required: Sequence[str] = ("label",),
    aliases: Mapping[str, str] | None = None,
    kept: Mapping[str, Column] | None = None,
) -> Table:
    """A UTF-8 file's columns, by their parsers; an alias stands for a missing column.

    Cells are separated by commas, semicolons or tabs, as the header is. The values of a column
    are collected in `kept[column]`, or else in a list. Raises DataError, naming the row if there
    is one, for anything that can't be used.
    """
    try:
        with TextIOWrapper(open_regular(path), "utf-8-sig", newline="") as file:
            separator, skipped = _separator(file, required)
            rows = _rows(csv.reader(file, delimiter=separator, strict=True), path, skipped)
            return _parsed(rows, path, parsers, required, aliases or {}, kept or {})
    except UnicodeDecodeError as error:
        with path.open("rb") as content:
            utf16 = content.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        why = "it is in UTF-16" if utf16 else str(error)
        raise DataError(f"'{path}' is no text in UTF-8 ({why}); save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"'{path}' can't be read ({error.strerror}).") from error


def _separator(file: TextIO, required: Sequence[str]) -> tuple[str, int]:
    """The separator of the header's cells, and the lines before it.

    Spreadsheets also write ; and tabs; Excel may name its own in a line before the header.
    """
    header = file.readline()
    if header.strip().lower().startswith("sep=") and len(header.strip()) == 5:
        return header.strip()[4], 1
    file.seek(0)
    for separator in _SEPARATORS:
        names = next(csv.reader([header], delimiter=separator), [])
        if all(name in names for name in required):
            return separator, 0
    return ",", 0


def is_empty(cell: str) -> bool:
    """Whether there is nothing in a cell, as pandas writes it, too."""
    return cell.strip().lower() in _EMPTY


def label(cell: str) -> str:
    """A class name, as it is written."""
    if is_empty(cell):
        raise ValueError("has no label; name the class of its image, or take the row away.")
    return sys.intern(cell)  # many rows have the same


def group(cell: str) -> str:
    """The name of a group, empty where there is none."""
    return "" if is_empty(cell) else sys.intern(cell)


def chosen(column: str, known: Mapping[str, int], cell: str) -> int:
    """One of some values, whatever the case."""
    value = cell.strip().lower()
    if value not in known:
        raise ValueError(f"has '{cell}' for {column}; choices: {', '.join(filter(None, known))}.")
    return known[value]


FLAG_PARSERS: Mapping[str, Parser] = {name: partial(chosen, name, _KNOWN) for name in FLAGS}
"""What reads true, false, 1 or 0; empty is false."""


def _rows(lines: Any, path: Path, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """The rows of a `csv.reader`, each with the line it begins in, less empty lines.

    Rows of blanks at the end are none, nor is the byte that ends a file in DOS. Elsewhere a row of
    blanks is a row, since labels without it would be those of other images. The reader does not
    know of `skipped` lines before its first.
    """
    begins = skipped + 1
    blank: list[tuple[int, list[str]]] = []
    try:
        for cells in lines:
            if cells and cells != [""] and not any(cell.strip(" \t\x1a") for cell in cells):
                blank.append((begins, cells))
            elif cells:
                yield from blank
                blank.clear()
                yield begins, cells
            begins = skipped + lines.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{begins} is no row of a CSV ({error}); mend its quotes."
        ) from error


def _parsed(
    rows: Iterator[tuple[int, list[str]]],
    path: Path,
    parsers: Mapping[str, Parser],
    required: Sequence[str],
    aliases: Mapping[str, str],
    collectors: Mapping[str, Column],
) -> Table:
    _, header = next(rows, (1, []))
    written = {name: name for name in parsers if name in header}
    for alias, name in aliases.items():
        if alias in header:
            written.setdefault(name, alias)
    _check_header(header, written, path, required)
    positions = {name: header.index(column) for name, column in written.items()}
    unused = [name for position, name in enumerate(header) if position not in positions.values()]
    table = Table(path, {name: collectors.get(name, []) for name in positions}, unused)
    for row, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{path}:{row} has {len(cells)} cells, but the header {len(header)}; put a cell "
                "with a comma into quotes."
            )
        table.rows.append(row)
        for name, position in positions.items():
            try:
                table.columns[name].append(parsers[name](cells[position]))
            except ValueError as error:
                raise DataError(f"{path}:{row} {error}") from error
    return table


def _check_header(
    header: Sequence[str], written: Mapping[str, str], path: Path, required: Sequence[str]
) -> None:
    """DataError for a column that is missing, duplicate, or without its counterpart."""
    has = f"it has {', '.join(map(repr, header)) or 'none'}"
    missing = [f"'{name}'" for name in required if name not in header]
    if missing:
        raise DataError(f"'{path}' has no column {' and no '.join(missing)}; {has}.")
    flags = [name for name in FLAGS if name in header]
    if len(flags) == 1:
        raise DataError(f"'{path}' has the column '{flags[0]}' alone; give both or neither.")
    for name in written.values():
        if header.count(name) > 1:
            raise DataError(f"'{path}' has the column '{name}' twice; {has}.")
