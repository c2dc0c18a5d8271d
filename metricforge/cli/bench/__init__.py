"""`metricforge bench`: many runs from one file, and the table that compares them."""

from __future__ import annotations

import click

from metricforge.cli.lazy import LazyGroup

COMMANDS = {
    "compare": "Compare two results of suites, seed by seed.",
    "list": "List the suites in a folder.",
    "run": "Run what is missing from a suite.",
    "table": "Print the table of the runs that are there.",
}


@click.group("bench", cls=LazyGroup, package="metricforge.cli.bench", lines=COMMANDS)
def command() -> None:
    """Run suites, and compare approaches with equal care.

    A suite is a TOML file: a base recipe, what is compared, how many seeds, a budget that is equal
    for all. SUITE is its path, or the name of one that `bench list` has.
    """
