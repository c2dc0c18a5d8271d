"""One number of a suite by two of its axes."""

from __future__ import annotations

from dataclasses import replace

from metricforge.bench.suite import JOINED, Suite
from metricforge.bench.table import Row, Table
from metricforge.contracts import Estimate
from metricforge.errors import UsageError, unknown


def grid(suite: Suite, table: Table, number: str) -> Table:
    """A table of one number: the last part of an approach's name across, the others down.

    An approach that could not be trained, or has not been, is an empty cell; untrained networks and
    pixels, whose names have one part, are a note. `n` are the fewest seeds of a row's cells. Where
    nothing has been measured the table comes back as it is, for it says why.

    Raises:
        UsageError: where the suite compares by one axis alone, or nothing measures the number.
    """
    found = {row.name: row for row in table.rows}
    there = dict.fromkeys(name for row in table.rows for name in row.numbers)
    if not there:
        return table
    if number not in there:
        raise unknown("number", number, there)
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
    beside = "; ".join(
        f"{row.name} {row.numbers[number].value:.3f}"
        for row in table.rows
        if number in row.numbers and JOINED not in row.name
    )
    others = [note for note in table.notes if not note.startswith(table.what)]
    return replace(
        table,
        title=f"{table.title}: {number}",
        numbers=tuple(across),
        rows=tuple(rows),
        notes=(f"{table.what}. {beside}.", *others),
    )
