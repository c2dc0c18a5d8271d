"""One number of a suite by two of its axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from metricforge.bench.formats import shown
from metricforge.bench.records import REFUSED
from metricforge.bench.suite import JOINED, Suite
from metricforge.bench.table import Row, Table
from metricforge.contracts import Estimate
from metricforge.errors import UsageError, unknown


def grids(suite: Suite, tables: Sequence[Table], number: str) -> list[Table]:
    """Of each table that has the number one of it alone, by two axes.

    The last part of an approach's name goes across, the others down. What could not be trained is
    an empty cell; notes say how many do not fit and which failed, and what untrained networks and
    pixels have, whose names are of one part. `n` are the fewest seeds of a row's cells. Where
    nothing has been measured the tables come back as they are, for they say why.

    Raises:
        UsageError: where the suite compares by one axis alone, or no table has the number.
    """
    there = dict.fromkeys(name for table in tables for row in table.rows for name in row.numbers)
    if there and number not in there:
        raise unknown("number", number, there)
    having = [table for table in tables if any(number in row.numbers for row in table.rows)]
    return [_grid(suite, table, number) for table in having] or list(tables)


def _grid(suite: Suite, table: Table, number: str) -> Table:
    found = {row.name: row for row in table.rows}
    across: dict[str, None] = {}
    down: dict[str, dict[str, Estimate]] = {}
    for approach in suite.approaches:
        if approach.name not in found:
            continue
        first, _, last = approach.name.rpartition(JOINED)
        if not first:
            raise UsageError(f"'{approach.name}' of {suite.name} is of one axis; a grid takes two.")
        across[last] = None
        cells = down.setdefault(first, {})
        if number in found[approach.name].numbers:
            cells[last] = found[approach.name].numbers[number]
    rows = [
        Row(name, n=min((one.n for one in cells.values()), default=0), numbers=cells)
        for name, cells in down.items()
    ]
    return replace(
        table,
        title=f"{table.title}: {number}",
        numbers=tuple(across),
        rows=tuple(rows),
        notes=tuple(_notes(table, number)),
        number=number,
    )


def _notes(table: Table, number: str) -> Iterator[str]:
    beside = "; ".join(
        f"{row.name} {shown(row.numbers[number], number)}"
        for row in table.rows
        if number in row.numbers and JOINED not in row.name
    )
    yield f"{table.what}. {beside}."
    reasons = {row.name: row.reason for row in table.rows if row.reason}
    if refused := sum(reason.startswith(REFUSED) for reason in reasons.values()):
        approaches = sum(JOINED in row.name for row in table.rows)
        yield f"{refused} of {approaches} approaches do not fit, and are empty here."
    for name, reason in reasons.items():
        if not reason.startswith(REFUSED):
            yield f"{name}: {reason}"
    yield from (note for note in table.notes if not note.startswith(table.what))
