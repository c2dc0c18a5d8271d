"""Where suites and their results lie."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metricforge.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metricforge.bench import Record, Suite, Table

HERE = Path("benchmarks") / "suites"
PACKAGE = Path(__file__).parents[2]
SHIPPED = (PACKAGE / "bench" / "suites", PACKAGE.parent / HERE)
"""Where those that ship with metricforge lie: in what pip installs, and in a checkout."""

OUT = click.option("--out", metavar="DIR", type=click.Path(path_type=Path),
                   help="Folder of the results.  [default: bench/SUITE]")  # fmt: skip


def suites() -> Path:
    """The folder of suites: benchmarks/suites here, or of those that ship."""
    return next((folder for folder in (HERE, *SHIPPED) if folder.is_dir()), HERE)


def find(named: str) -> Suite:
    """The suite in a file, or of a name in the folder of suites."""
    from metricforge.bench import read_suite

    path = Path(named)
    if path.suffix == ".toml":
        return read_suite(path)
    known = {one.stem: one for one in suites().glob("*.toml")}
    if named not in known and not known:
        raise UsageError(f"there are no suites in {HERE}; name a file, e.g. {named}.toml.")
    if named not in known:
        raise unknown("suite", named, known)
    return read_suite(known[named])


def results_of(suite: Suite, out: Path | None) -> Path:
    """The folder of a suite's results."""
    return out or Path("bench") / suite.name


def current(suite: Suite, path: Path) -> list[Record]:
    """The records of what the suite requires; others, of what it once was, are told of."""
    from metricforge.bench import asked_for, read_records

    if not path.exists():
        raise UsageError(
            f"no run of suite '{suite.name}' is in {path.parent}; start or resume it with: "
            "metricforge bench run"
        )
    records = read_records(path)
    asked = asked_for(suite, records)
    if old := len(records) - len(asked):
        click.echo(f"note: {old} results in {path} are of what the suite no longer asks.", err=True)
    return asked


def described(suite: Suite) -> dict[str, Any]:
    """A suite in a line."""
    return {
        "name": suite.name,
        "title": suite.title,
        "approaches": len(suite.approaches),
        "seeds": suite.seeds,
        "trials": suite.trials,
        "runs": len(suite.plan()),
    }


def show(tables: Sequence[Table], form: str | None = None) -> None:
    """Print tables in a format; None is what a person reads on a terminal, and else Markdown."""
    from rich.console import Console

    from metricforge.bench.formats import FORMATS, on_terminal

    # What is asked to be coloured elsewhere is still no terminal.
    if form is None and sys.stdout.isatty():
        on_terminal(tables, Console(highlight=False))
    else:
        click.echo(FORMATS[form or "md"](tables), nl=False)
