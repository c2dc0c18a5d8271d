"""The table of held-out numbers in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metricforge.contracts import Estimate
from metricforge.runs.measure import Measured
from metricforge.runs.run import Run

MOST_CLASSES = 8


def print_run(run: Run) -> None:
    """A run's held-out numbers, its folder, and the next command to try."""
    summary = run.summary
    measured = Measured.from_json(summary)
    kind = "closed set, test images of" if summary["closed_set"] else "held-out classes"
    title = f"{summary['dataset']}: {kind} {shortened(summary['test_classes'])}"
    print_measured(measured, title)
    click.echo(f"\nrun     {run.path}")
    click.echo(f"report  {run.folder.report}")
    click.echo(f"next    metricforge evaluate {run.path} --protocol oneshot:way=3,shot=5")


def print_measured(measured: Measured, title: str) -> None:
    """Estimates by approach, a row a number, and the notes below."""
    console = Console(highlight=False)
    approaches = list(measured.results)
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=None)
    table.add_column("")
    for approach in approaches:
        table.add_column(approach, justify="right", style="bold" if approach == "trained" else "")
    for name in _names(measured.results):
        cells = (measured.results[approach].get(name) for approach in approaches)
        table.add_row(name, *(interval(cell) for cell in cells))
    console.print(table)
    console.print("95 % intervals in brackets.", style="dim")
    for note in measured.notes:
        console.print(f"note: {escape(note)}", style="dim")


def interval(estimate: Estimate | None) -> str:
    """An estimate as 0.912 [0.900, 0.924]."""
    if estimate is None:
        return "-"
    return f"{estimate.value:.3f} [dim]\\[{estimate.low:.3f}, {estimate.high:.3f}][/dim]"


def shortened(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:MOST_CLASSES])
    more = len(names) - MOST_CLASSES
    return f"{shown} and {more} more" if more > 0 else shown


def _names(results: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """The numbers that any approach has, in the order they were measured."""
    return list(dict.fromkeys(name for estimates in results.values() for name in estimates))
