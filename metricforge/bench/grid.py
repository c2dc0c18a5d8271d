"""One number of a suite by two of its axes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from metricforge.bench.formats import shown
from metricforge.bench.suite import JOINED, Suite
from metricforge.bench.table import Row, Table
from metricforge.contracts import Estimate
from metricforge.errors import UsageError, unknown
from metricforge.tuning.trials import REFUSED

AXES = 2
"""What a grid has: one down, one across."""


def grids(suite: Suite, tables: Sequence[Table], number: str) -> list[Table]:
    """Of each table that has the number one of it alone, by two axes.

    The last part of an approach's name goes across, the others down. A part that all of a table
    share though the suite varies it, such as its dataset, which the title names, is left away as
    long as two others stay. What could not be trained is an empty cell; notes say how many do not
    fit and which failed, and what untrained networks and pixels have, whose names are of one part.
    `n` are the fewest seeds of a row's cells. Where nothing has been measured the tables come back
    as they are, for they say why.

    Raises:
        UsageError: where the suite compares by one axis alone, or some of its approaches by more
            than others, or no table has the number.
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
    axes = dict(_axes(suite, found))
    for name, (*first, last) in axes.items():
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
        notes=tuple(_notes(table, number, axes)),
        number=number,
    )


def _axes(suite: Suite, found: Mapping[str, Row]) -> Iterator[tuple[str, list[str]]]:
    """The approaches of a table, in the suite's order, each with the parts of its name.

    What the suite varies and this table does not, as its dataset, is left away, but two parts
    always stay. What the suite asks for decides it, not what is done already.
    """
    parts = {one.name: one.name.split(JOINED) for one in suite.approaches}
    if len({len(each) for each in parts.values()}) > 1:
        raise UsageError(f"some of {suite.name} are of more axes than others; a grid has two.")
    measured = [one for one in suite.approaches if one.name in found and found[one.name].numbers]
    asked_for = {suite.asks_for(one) for one in measured}
    here = [one.name for one in suite.approaches if suite.asks_for(one) in asked_for]
    choices = [len(set(each)) for each in zip(*parts.values(), strict=True)]
    choices_here = [len(set(each)) for each in zip(*(parts[n] for n in here), strict=True)]
    same = [place for place, n in enumerate(choices_here) if n == 1 < choices[place]]
    left_away = same[: max(0, len(choices) - AXES)]
    for name in here:
        if name in found:
            yield name, [part for place, part in enumerate(parts[name]) if place not in left_away]


def _notes(table: Table, number: str, approaches: Collection[str]) -> Iterator[str]:
    beside = "; ".join(
        f"{row.name} {shown(row.numbers[number], number)}"
        for row in table.rows
        if number in row.numbers and JOINED not in row.name
    )
    yield f"{table.what}. {beside}."
    reasons = {row.name: row.reason for row in table.rows if row.reason}
    if refused := sum(reasons.get(name, "").startswith(REFUSED) for name in approaches):
        yield f"{refused} of {len(approaches)} approaches do not fit, and are empty here."
    for name, reason in reasons.items():
        if not reason.startswith(REFUSED):
            yield f"{name}: {reason}"
    yield from (note for note in table.notes if not note.startswith(table.what))
