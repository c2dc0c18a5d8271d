"""`metricforge plugins new`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from metricforge.cli import COMMANDS
from metricforge.cli.completion import KIND
from metricforge.cli.options import JSON, debug, print_json
from metricforge.entry_points import COMMAND, SEARCH
from metricforge.errors import UsageError


@click.command("new")
@click.argument("kind", type=KIND)
@click.argument("name")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path),
              help="The folder to write.  [default: NAME]")  # fmt: skip
@JSON
@debug
def command(kind: str, name: str, out: Path | None, as_json: bool) -> None:
    """Begin a plugin: a package with a working component, its test and its README.

    \b
    metricforge plugins new sampler my-idea
    pip install --editable my-idea
    metricforge train --sampler my-idea
    """
    from metricforge.scaffold import write_plugin

    if kind == COMMAND and name in COMMANDS:
        raise UsageError(f"metricforge has the command '{name}' itself; choose another name.")
    folder = write_plugin(kind, name, out)
    install = f"pip install --editable {shlex.quote(str(folder))}"
    flag = "augment" if kind == "augmentation" else kind
    use = {
        COMMAND: f"metricforge {name} --help",
        SEARCH: f"metricforge plugins show search {name}",
    }.get(kind, f"metricforge train --{flag} {name}")
    if as_json:
        print_json({"folder": str(folder), "kind": kind, "name": name, "next": [install, use]})
        return
    click.echo(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}\n")
    click.echo(f"  {install}\n  {use}")
