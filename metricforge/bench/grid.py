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
"""The axes of a grid: one down, one across."""


def grids(suite: Suite, tables: Sequence[Table], number: str) -> list[Table]:
    """For each table that has the metric, a grid of that metric by two axes.

    The last part of an approach's name goes across, the others down. A part that is constant in a
    table though the suite varies it, e.g. the dataset, which the title names, is dropped as long as
    two others stay. An approach that could not be trained is an empty cell; notes count those that
    do not fit, and list those that failed and the baselines, whose names have one part. `n` is the
    fewest seeds of a row's cells. If nothing has been measured, the tables are returned unchanged:
    they say why.

    Raises:
        UsageError: where the suite compares by one axis alone, or some of its approaches by more
            than others, or no table has the number.
    """
    available = dict.fromkeys(
        name for table in tables for row in table.rows for name in row.numbers
    )
    if available and number not in available:
        raise unknown("number", number, available)
    having = [table for table in tables if any(number in row.numbers for row in table.rows)]
    return [_grid(suite, table, number) for table in having] or list(tables)


def _grid(suite: Suite, table: Table, number: str) -> Table:
    rows_by_name = {row.name: row for row in table.rows}
    across: dict[str, None] = {}
    down: dict[str, dict[str, Estimate]] = {}
    axes = dict(_axes(suite, rows_by_name))
    for name, (*first, last) in axes.items():
        if not first:
            raise UsageError(f"'{name}' of {suite.name} is of one axis; a grid takes two.")
        across[last] = None
        cells = down.setdefault(JOINED.join(first), {})
        if number in rows_by_name[name].numbers:
            cells[last] = rows_by_name[name].numbers[number]
    rows = [
        Row(name, n=min((cell.n for cell in cells.values()), default=0), numbers=cells)
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


def _axes(suite: Suite, rows: Mapping[str, Row]) -> Iterator[tuple[str, list[str]]]:
    """The approaches of a table, in the suite's order, each with the parts of its name.

    A part that the suite varies and this table does not, e.g. its dataset, is dropped, but at least
    two parts stay. The plan of the suite decides that, not the finished runs.
    """
    parts = {approach.name: approach.name.split(JOINED) for approach in suite.approaches}
    if len({len(each) for each in parts.values()}) > 1:
        raise UsageError(f"some of {suite.name} are of more axes than others; a grid has two.")
    measured = [
        approach
        for approach in suite.approaches
        if approach.name in rows and rows[approach.name].numbers
    ]
    tested_on = {suite.data_of(approach) for approach in measured}
    names = [approach.name for approach in suite.approaches if suite.data_of(approach) in tested_on]
    choices = [len(set(each)) for each in zip(*parts.values(), strict=True)]
    table_choices = [len(set(each)) for each in zip(*(parts[n] for n in names), strict=True)]
    constant = [axis for axis, n in enumerate(table_choices) if n == 1 < choices[axis]]
    dropped = constant[: max(0, len(choices) - AXES)]
    for name in names:
        if name in rows:
            yield name, [part for axis, part in enumerate(parts[name]) if axis not in dropped]


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
