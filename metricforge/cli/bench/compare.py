"""`metricforge bench compare`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.options import JSON, debug, print_json


@click.command("compare")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@JSON
@debug
def command(first: Path, second: Path, as_json: bool) -> None:
    """Compare two folders of results, e.g. of two versions: SECOND minus FIRST.

    Approaches that both have, tested on the same classes: the seeds that both have, in pairs.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from metricforge.bench.comparison import compare
    from metricforge.cli.run_table import difference

    compared = compare(first, second)
    if as_json:
        print_json(compared.to_json())
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("", "seeds", "first", "second", "difference"):
        table.add_column(head, overflow="fold", no_wrap=head == "difference")
    for name, metrics in compared.approaches.items():
        table.add_row(f"[bold]{escape(name)}[/bold]")
        for metric, (left, right, delta) in metrics.items():
            # A single seed has no interval.
            cell = difference(delta) if delta.n > 1 else f"{delta.value:+.3f}"
            table.add_row(f"  {metric}", str(delta.n), f"{left:.3f}", f"{right:.3f}", cell)
    console = Console(highlight=False)
    console.print(table)
    for note in compared.notes:
        console.print(escape(note), style="dim", soft_wrap=True)
