"""Cells of a CSV that a spreadsheet must not run."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def inert(cell: str) -> str:
    """A name as a cell: behind an apostrophe where a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
