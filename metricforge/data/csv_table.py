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

from metricforge.contracts import TEST, TRAIN, VALIDATION
from metricforge.errors import DataError, unknown
from metricforge.regular_file import open_regular

Parser: TypeAlias = Callable[[str], Any]
"""A cell to its value; the message of its ValueError follows the row: "has no label"."""

FLAGS = ("is_query", "is_gallery")
"""The columns of which a file has both or neither."""

MOST_LINE = 1 << 20
"""Characters of a line, of which a path or a label has few."""

_SEPARATORS = (",", ";", "\t")
MISSING = ("", "nan")
"""What pandas writes for a cell that is not there."""
_KNOWN = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_KNOWN |= dict.fromkeys(MISSING, False)


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
    named: Mapping[str, str] | None = None,
    advice: str = "",
) -> Table:
    """A UTF-8 file's columns, by their parsers; an alias stands for a missing column.

    `named` maps known columns to the file's own names for them. The error of a missing column ends
    with `advice`. Cells are separated by commas, semicolons or tabs, as the header is. The values
    of a column are collected in `kept[column]`, or else in a list. Raises DataError, naming the row
    if there is one, for anything that can't be used.
    """
    try:
        with TextIOWrapper(open_regular(path), "utf-8-sig", newline="") as file:
            own = named or {}
            separator, first = _separator(file, [own.get(name, name) for name in required])
            rows = _rows(
                csv.reader(_lines(file, path), delimiter=separator, strict=True), path, first
            )
            table = _Header(path, parsers, required, aliases or {}, own, advice)
            return _parsed(rows, table, kept or {})
    except UnicodeDecodeError as error:
        with path.open("rb") as content:
            utf16 = content.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        why = "it is in UTF-16" if utf16 else str(error)
        raise DataError(f"'{path}' is no text in UTF-8 ({why}); save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"'{path}' has no header of a CSV ({error}); mend its quotes.") from error
    except OSError as error:
        raise DataError(f"'{path}' can't be read ({error.strerror}).") from error


def _separator(file: TextIO, required: Sequence[str]) -> tuple[str, int]:
    """The separator of the header's cells, and its line: spreadsheets also write ; and tabs."""
    header = file.readline(MOST_LINE)
    first = header.strip()
    if first.lower().startswith("sep=") and len(first) == 5 and first[4] != '"':
        return first[4], 2  # Excel's own, in a line before the header
    file.seek(0)
    for separator in _SEPARATORS:
        names = next(csv.reader([header], delimiter=separator), [])
        if all(name in names for name in required):
            return separator, 1
    return ",", 1


def is_empty(cell: str) -> bool:
    """Whether there is nothing in a cell, as pandas writes it, too."""
    return cell.strip().lower() in MISSING


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


PARTS = {"train": TRAIN, "validation": VALIDATION, "val": VALIDATION, "test": TEST}
"""The names of parts in files, and their values of `Dataset.official`."""


def part(cell: str) -> int:
    """A value of `Dataset.official`."""
    return chosen("split", PARTS, cell)


FLAG_PARSERS: Mapping[str, Parser] = {name: partial(chosen, name, _KNOWN) for name in FLAGS}
"""What reads true, false, 1 or 0; empty is false."""


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file; DataError for one of MOST_LINE characters, as of an endless file."""
    while line := file.readline(MOST_LINE):
        if len(line) == MOST_LINE:
            raise DataError(f"'{path}' has a line of more than {MOST_LINE:,} characters.")
        yield line


def _rows(lines: Any, path: Path, first: int) -> Iterator[tuple[int, list[str]]]:
    """The rows of a `csv.reader` that are not empty, each with the line it begins in.

    Rows of blanks alone, or of the byte that ended a file in DOS, are skipped at the end. Elsewhere
    such a row is a row: labels without it would be those of other images.
    """
    begins, width = first, 0
    blank: list[tuple[int, list[str]]] = []
    try:
        for cells in lines:
            width = width or len(cells)
            # In a table of one column a line with nothing in it may be a label that lacks.
            cells = cells if cells or width != 1 else [" "]
            # A cell in quotes with nothing in it is a value that lacks, not a blank row.
            if not any(cell.strip(" \t\x1a") for cell in cells) and cells not in ([], [""]):
                blank.append((begins, cells))
            elif cells:
                yield from blank
                blank.clear()
                yield begins, cells
            begins = lines.line_num + first
    except csv.Error as error:
        raise DataError(
            f"{path}:{begins} is no row of a CSV ({error}); mend its quotes."
        ) from error


@dataclass(frozen=True)
class _Header:
    """The columns that a file may have, and those that it must have."""

    path: Path
    parsers: Mapping[str, Parser]
    required: Sequence[str]
    aliases: Mapping[str, str]
    named: Mapping[str, str]
    advice: str

    def positions(self, header: Sequence[str]) -> dict[str, int]:
        """The position of each known column that is there.

        DataError for a column that is missing, duplicate, or without its counterpart.
        """
        has = f"it has {', '.join(map(repr, header)) or 'none'}"
        written = self._written(header, has)
        missing = [f"'{name}'" for name in self.required if name not in written]
        if missing:
            names = " and no ".join(missing)
            raise DataError(f"'{self.path}' has no column {names}; {has}{self.advice}.")
        flags = [name for name in FLAGS if name in written]
        if len(flags) == 1:
            raise DataError(
                f"'{self.path}' has the column '{flags[0]}' alone; give both or neither."
            )
        for column in written.values():
            if header.count(column) > 1:
                raise DataError(f"'{self.path}' has the column '{column}' twice; {has}.")
        return {name: header.index(column) for name, column in written.items()}

    def _written(self, header: Sequence[str], has: str) -> dict[str, str]:
        """The file's own name of each known column that is there."""
        for name, column in self.named.items():
            if name not in self.parsers:
                raise unknown("column", name, self.parsers)
            if column not in header:
                raise DataError(f"'{self.path}' has no column '{column}'; {has}.")
        others = set(header) - set(self.named.values())
        written = {name: name for name in self.parsers if name in others} | dict(self.named)
        for alias, name in self.aliases.items():
            if alias in header:
                written.setdefault(name, alias)
        return written


def _parsed(
    rows: Iterator[tuple[int, list[str]]], known: _Header, collectors: Mapping[str, Column]
) -> Table:
    path = known.path
    _, header = next(rows, (1, []))
    positions = known.positions(header)
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
                table.columns[name].append(known.parsers[name](cells[position]))
            except ValueError as error:
                raise DataError(f"{path}:{row} {error}") from error
    return table
