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

LOCAL = Path("benchmarks") / "suites"
PACKAGE = Path(__file__).parents[2]
SHIPPED = (PACKAGE / "bench" / "suites", PACKAGE.parent / LOCAL)
"""The folders of the suites that ship with metricforge: as pip installs them, and in a checkout."""

OUT = click.option("--out", metavar="DIR", type=click.Path(path_type=Path),
                   help="Folder of the results.  [default: bench/SUITE]")  # fmt: skip


def suites() -> Path:
    """The folder of suites: benchmarks/suites, or the one that ships."""
    return next((folder for folder in (LOCAL, *SHIPPED) if folder.is_dir()), LOCAL)


def find(name_or_path: str) -> Suite:
    """The suite in a .toml file, or the one of that name in the folder of suites."""
    from metricforge.bench import read_suite

    path = Path(name_or_path)
    if path.suffix == ".toml":
        return read_suite(path)
    available = {file.stem: file for file in suites().glob("*.toml")}
    if name_or_path not in available and not available:
        raise UsageError(f"there are no suites in {LOCAL}; name a file, e.g. {name_or_path}.toml.")
    if name_or_path not in available:
        raise unknown("suite", name_or_path, available)
    return read_suite(available[name_or_path])


def results_of(suite: Suite, out: Path | None) -> Path:
    """The folder of a suite's results."""
    return out or Path("bench") / suite.name


def current(suite: Suite, path: Path) -> list[Record]:
    """The records of runs that the suite requires; a note counts those of an earlier suite."""
    from metricforge.bench import read_records, required_records

    if not path.exists():
        raise UsageError(
            f"no run of suite '{suite.name}' is in {path.parent}; start or resume it with: "
            "metricforge bench run"
        )
    records = read_records(path)
    planned = required_records(suite, records)
    if old := len(records) - len(planned):
        click.echo(f"note: {old} results in {path} are of what the suite no longer asks.", err=True)
    return planned


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
    """Print tables in a format; None is a terminal's own, and Markdown elsewhere."""
    from rich.console import Console

    from metricforge.bench.formats import FORMATS, on_terminal

    # FORCE_COLOR colours a pipe, but doesn't make it a terminal.
    if form is None and sys.stdout.isatty():
        on_terminal(tables, Console(highlight=False))
    else:
        click.echo(FORMATS[form or "md"](tables), nl=False)
