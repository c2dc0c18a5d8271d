"""`metricforge compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metricforge.cli.options import DATA_ROOT, DEVICE, JSON, PROTOCOL, debug, print_json

if TYPE_CHECKING:
    from metricforge.judging.compare import Comparison


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...",
                type=click.Path(path_type=Path))  # fmt: skip
@PROTOCOL
@DEVICE
@DATA_ROOT
@JSON
@debug
def command(
    runs: tuple[Path, ...],
    protocols: tuple[str, ...],
    device: str,
    data_root: str | None,
    as_json: bool,
) -> None:
    """Compare RUNs on the same held-out queries and episodes, each with the first.

    Their test classes must be the same. A difference is marked "sure" if its 95 % interval excludes
    zero.
    """
    from metricforge.judging.compare import compare
    from metricforge.judging.protocols import USUAL_PROTOCOLS

    comparison = compare(
        runs, protocols=protocols or USUAL_PROTOCOLS, data_root=data_root, device=device
    )
    if as_json:
        print_json(comparison.to_json())
    else:
        _print(comparison)


def _print(comparison: Comparison) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from metricforge.cli.run_table import difference, interval, interval_basis, shortened
    from metricforge.report.page import printable

    console = Console(highlight=False)
    kind = "closed set" if comparison.closed_set else "held-out classes"
    title = f"{comparison.dataset} ({comparison.images:,} images): {kind} "
    console.print(escape(printable(title + shortened(comparison.classes))), style="bold")
    first, *other_runs = comparison.results
    shown = _short(list(comparison.results))
    for name, measured in comparison.results[first].items():
        table = Table(box=None, padding=(0, 2, 0, 0), title=escape(name), title_justify="left")
        for head in ("run", "value", f"minus {shown[first]}"):
            table.add_column(head, overflow="fold")
        table.add_row(shown[first], interval(measured), "")
        for run in other_runs:
            delta = comparison.differences[run].get(name)
            value = comparison.results[run].get(name)
            # An interval over seeds does not cover other images or episodes.
            sure = delta is not None and delta.over != "seeds"
            table.add_row(shown[run], interval(value), difference(delta, sure))
        console.print(table)
        if better := comparison.better.get(name):
            remark = f"better than all others by {escape(name)}: {shown[better]}"
            console.print(remark, style="dim")
    for line in (
        f"values: {interval_basis(comparison.results)}",
        f"paired differences: {interval_basis(comparison.differences)}",
        "sure: the interval excludes zero. It covers other images or episodes of this kind, not "
        "other trainings of the same recipe.",
    ):
        console.print(line, style="dim", width=min(console.width, 80))
    for note in comparison.notes:
        remark = f"note: {escape(printable(note))}"
        console.print(remark, style="dim", soft_wrap=not console.is_terminal)
    if comparison.seeds:
        _print_seeds(comparison, shown)


def _print_seeds(comparison: Comparison, shown: dict[str, str]) -> None:
    """The means of runs that differ in their seed alone, a row a metric."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from metricforge.cli.run_table import difference, interval

    console = Console(highlight=False)
    for run, numbers in comparison.seeds.items():
        count = next(iter(numbers.values())).n
        deltas = comparison.seed_differences.get(run, {})
        title = f"{shown[run]} and its other seeds: mean of {count} trainings"
        console.print(f"\n{title}", style="bold", soft_wrap=True)
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("")
        table.add_column("mean")
        table.add_column(f"minus {shown[next(iter(comparison.seeds))]}" if deltas else "")
        for name, mean in numbers.items():
            cell = difference(deltas[name]) if name in deltas else ""
            table.add_row(escape(name), interval(mean), cell)
        console.print(table)
    console.print(
        "These intervals are over seeds: they cover other trainings of the same recipe.",
        style="dim",
    )


def _short(paths: list[str]) -> dict[str, str]:
    """The label of a run: its folder's name if that is unique, else its path; both printable."""
    from rich.markup import escape

    from metricforge.report.page import printable

    names = [Path(path).name for path in paths]
    labels = names if len(set(names)) == len(names) else paths
    return {path: escape(printable(name)) for path, name in zip(paths, labels, strict=True)}
