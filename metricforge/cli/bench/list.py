"""`metricforge bench list`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.bench.places import SUITES, described
from metricforge.cli.options import JSON, debug, print_json
from metricforge.errors import UsageError


@click.command("list")
@click.argument("folder", default=SUITES, type=click.Path(path_type=Path))
@JSON
@debug
def command(folder: Path, as_json: bool) -> None:
    """List the suites in FOLDER, benchmarks/suites by default."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from metricforge.bench import read_suite

    suites = []
    for path in sorted(folder.glob("*.toml")):
        try:
            suites.append(described(read_suite(path)))
        except UsageError as error:
            click.echo(f"note: {error}", err=True)
    if not suites:
        raise UsageError(f"there are no suites in {folder}.")
    if as_json:
        print_json(suites)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("suite", "runs", ""):
        table.add_column(head, overflow="fold")
    for suite in suites:
        table.add_row(escape(suite["name"]), f"{suite['runs']:,}", escape(suite["title"]))
    Console(highlight=False).print(table)
