"""`metricforge bench list`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.bench.suite_paths import described, suites
from metricforge.cli.options import JSON, debug, print_json
from metricforge.errors import UsageError


@click.command("list")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@JSON
@debug
def command(folder: Path | None, as_json: bool) -> None:
    """List the suites in FOLDER: by default in benchmarks/suites, or those that ship."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from metricforge.bench import read_suite

    folder, rows = folder or suites(), []
    for path in sorted(folder.glob("*.toml")):
        try:
            rows.append(described(read_suite(path)))
        except UsageError as error:
            click.echo(f"note: {error}", err=True)
    if not rows:
        raise UsageError(f"there are no suites in {folder}.")
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("suite", "runs", ""):
        table.add_column(head, overflow="fold")
    for row in rows:
        trials = f" + {row['trials']:,} trials" if row["trials"] else ""
        table.add_row(escape(row["name"]), f"{row['runs']:,}{trials}", escape(row["title"]))
    Console(highlight=False).print(table)
