"""One number of a suite by two of its axes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from metricforge.bench.formats import shown
from metricforge.bench.records import REFUSED
from metricforge.bench.suite import JOINED, Suite
from metricforge.bench.table import Row, Table
from metricforge.contracts import Estimate
from metricforge.errors import UsageError, unknown

AXES = 2


def grids(suite: Suite, tables: Sequence[Table], number: str) -> list[Table]:
    """Of each table that has the number one of it alone, by two axes.

    Of three axes the one that all approaches of a table share, such as its dataset, is left away.
    Of the others the last goes across, the rest down. What could not be trained is an
    empty cell; notes say how many do not fit and which failed, and what untrained networks and
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
    for name, (*first, last) in _axes(suite, found):
        if not first:
            raise UsageError(f"'{name}' of {suite.name} is of one axis; a grid takes two.")
        across[last] = None
        cells = down.setdefault(JOINED.join(first), {})
        if number in found[name].numbers:
            cells[last] = found[name].numbers[number]
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


def _axes(suite: Suite, names: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Those of these names that the suite has, in its order, and their parts.

    Without the parts that all approaches tested on the same images share, while two are left:
    by what the suite asks for, so that a part that has only begun has the same axes.
    """
    here = {suite.tested_on(one) for one in suite.approaches if one.name in names}
    alike = [one.name.split(JOINED) for one in suite.approaches if suite.tested_on(one) in here]
    shared = [place for place, each in enumerate(zip(*alike, strict=False)) if len(set(each)) == 1]
    for one in suite.approaches:
        if one.name in names:
            parts = one.name.split(JOINED)
            left_away = shared[: max(0, len(parts) - AXES)]
            yield one.name, [part for place, part in enumerate(parts) if place not in left_away]


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
