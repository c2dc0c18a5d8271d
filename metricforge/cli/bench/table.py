"""`metricforge bench table`."""

from __future__ import annotations

from pathlib import Path

import click

from metricforge.cli.bench.suite_paths import OUT, current, find, results_of, show
from metricforge.cli.options import debug
from metricforge.errors import UsageError

FORMATS = ("md", "csv", "json", "html")


@click.command("table")
@click.argument("suite")
@click.option("--format", "form", type=click.Choice(FORMATS),
              help="[default: as a terminal shows it best; elsewhere md]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--grid", "number", metavar="NUMBER",
              help="This number alone, by two axes, a grid for each dataset.")  # fmt: skip
@OUT
@debug
def command(
    suite: str, form: str | None, as_json: bool, number: str | None, out: Path | None
) -> None:
    """Print the table of the runs of SUITE that are there."""
    from metricforge.bench import grids, tabulate
    from metricforge.bench.runner import RECORDS

    definition = find(suite)
    records = current(definition, results_of(definition, out) / RECORDS)
    tables = tabulate(definition, records)
    form = "json" if as_json else form
    if number is not None:
        if form in ("csv", "json"):
            raise UsageError(f"--grid is for reading: {form} has every number as it is.")
        tables = grids(definition, tables, number)
    show(tables, form)
