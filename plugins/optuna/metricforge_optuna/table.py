"""The result of a search, on the terminal or for another program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metricforge_optuna.record import SearchFolder, TrialRecord
from metricforge_optuna.search import best_first

CAVEAT = (
    "The numbers are of the validation classes, and the best is the best of many: expect less on "
    "the test classes."
)


def print_search(folder: SearchFolder, records: Sequence[TrialRecord], number: str) -> None:
    """The trials best first, those that failed below, and the command that tests the best."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    keys = list(records[0].options)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in (number, *keys, "trial"):
        table.add_column(escape(name), justify="right", no_wrap=True)
    for record in best_first(list(records), number):
        cells = (f"{record.score:.4f}", *record.options.values(), str(record.number))
        table.add_row(*map(escape, cells))
    console.print(table)
    for record in records:
        if record.failure:
            console.print(escape(f"trial {record.number} failed: {record.failure}"), soft_wrap=True)
    console.print(CAVEAT, style="dim", soft_wrap=True)
    best = best_first(list(records), number)[0]
    shown = " ".join(f"{key}={value}" for key, value in best.options.items())
    console.print(escape(f"\nbest    {shown}"), soft_wrap=True)
    console.print(escape(f"next    metricforge train --config {folder.best}"), soft_wrap=True)


def as_json(folder: SearchFolder, records: Sequence[TrialRecord], number: str) -> dict[str, Any]:
    """The same as one record."""
    from dataclasses import asdict

    best = best_first(list(records), number)[0]
    return {
        "search": str(folder.path),
        "select": number,
        "best": asdict(best),
        "best_config": str(folder.best),
        "trials": [asdict(record) for record in records],
    }
