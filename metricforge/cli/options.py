"""Options that several commands share."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, TypeVar

import click

from metricforge.cli.completion import ComponentSpec

F = TypeVar("F", bound=Callable[..., Any])

DATA_ROOT = click.option(
    "--data-root",
    envvar="METRICFORGE_DATA",
    metavar="DIR",
    help="Where datasets lie or are downloaded to.  [default: $METRICFORGE_DATA or data]",
)
DEVICE = click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or mps.")
SPLITS = (
    "random, groups, folds:k=4,fold=0, classes:train=0-4,..., images, official, saved:path=FILE."
)
"""What --split takes, for its help."""

ALL_METRICS = click.option(
    "--all", "all_metrics", is_flag=True, help="Print every metric, not just the main ones."
)


def _others_to_stderr(context: click.Context, option: click.Parameter, as_json: bool) -> bool:
    """With --json stdout has one value: what a library or a plugin prints goes to stderr."""
    if as_json:
        context.with_resource(_results_apart())
    return as_json


_results: TextIO | None = None


@contextmanager
def _results_apart() -> Iterator[None]:
    global _results
    _results = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = None


JSON = click.option(
    "--json", "as_json", is_flag=True, callback=_others_to_stderr, is_eager=True,
    help="Print the result as JSON.",
)  # fmt: skip
PROTOCOL = click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=ComponentSpec("protocol"),
    metavar="SPEC",
    help="How to test, e.g. oneshot:way=20,shot=1; may be repeated.  "
    "[default: retrieval and oneshot]",
)


def component(
    name: str, line: str, kind: str | None = None, multiple: bool = False, field: str | None = None
) -> Callable[[F], F]:
    """The option `--NAME SPEC` for a component of a kind, a recipe's `field`; TAB completes it."""
    chosen, names = ComponentSpec(kind or name), (f"--{name}", field or name)
    return click.option(*names, type=chosen, metavar="SPEC", help=line, multiple=multiple)


def debug(function: F) -> F:
    """Add `--debug`, which `main` looks for itself."""
    decorate: Callable[[F], F] = click.option(
        "--debug", is_flag=True, expose_value=False, help="Show a traceback with an error."
    )
    return decorate(function)


def is_later_rank() -> bool:
    """Whether torchrun started this process as a rank above 0; rank 0 writes and prints."""
    started = "MASTER_ADDR" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
    return started and os.environ.get("RANK", "0").lstrip("0").isdecimal()


def by_first_rank(function: F) -> F:
    """Run the command on rank 0 alone of the processes that torchrun starts."""

    @functools.wraps(function)
    def run_by_first(*arguments: Any, **options: Any) -> Any:
        return None if is_later_rank() else function(*arguments, **options)

    return run_by_first  # type: ignore[return-value]


def print_json(record: Any) -> None:
    """Print a result for another program: one JSON document on stdout."""
    click.echo(json.dumps(record, indent=1), file=_results)
