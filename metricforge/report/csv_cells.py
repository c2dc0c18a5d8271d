"""Cells of a CSV that a spreadsheet must not run."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@")


def inert(cell: str) -> str:
    """A name as a cell: behind an apostrophe where a spreadsheet would take it for a formula.

    Carriage returns become blanks: a cell with one is not quoted, and its end would begin a row.
    """
    line = cell.replace("\r", " ")
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line
