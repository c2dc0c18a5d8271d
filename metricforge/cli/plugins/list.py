"""`metricforge plugins list`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping

import click

from metricforge.cli import COMMANDS
from metricforge.cli.completion import KIND
from metricforge.cli.options import JSON, debug, print_json
from metricforge.contracts import KINDS
from metricforge.entry_points import COMMAND, SEARCH
from metricforge.registry import Entry, Registry, Status

Statuses = Mapping[Entry, Status]


@click.command("list")
@click.argument("kind", required=False, type=KIND)
@click.option("--import", "importing", is_flag=True, help="Import each in another process, to "
              "see which are broken; Ctrl-C ends one that hangs.")  # fmt: skip
@JSON
@debug
def command(kind: str | None, importing: bool, as_json: bool) -> None:
    """List every component and command, with its distribution, its state and one line.

    KIND narrows the list: sampler, miner, loss, head, backbone, adapter, dataset, augmentation,
    optimizer, schedule, protocol, hook, command or search.
    A state is "not imported" for one whose source reads well, ok for one that --import has
    imported, broken or shadowed.
    """
    registry = Registry.installed()
    entries = registry.entries(kind)
    statuses = {entry: _status(registry, entry) for entry in entries}
    if importing:
        from metricforge.plugin_tools.importing import imported

        statuses = imported(statuses, _name)
        _clear()
    for point in registry.misplaced:
        click.echo(f"note: {registry.told_of(point)}", err=True)
    if as_json:
        print_json([_record(entry, statuses[entry]) for entry in entries])
        return
    for name, plural in ((name, each.plural) for name, each in KINDS.items()):
        _section(plural, [entry for entry in entries if entry.kind == name], statuses)
    for name, plural in ((COMMAND, "commands"), (SEARCH, "searches")):
        _section(plural, [entry for entry in entries if entry.kind == name], statuses)


def _name(entry: Entry) -> None:
    """On a terminal, print what is being imported, in case it hangs."""
    if sys.stderr.isatty():
        click.echo(
            f"\r\033[Kimporting {entry.kind} {entry.shown} ({entry.origin})", nl=False, err=True
        )


def _clear() -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)


def _status(registry: Registry, entry: Entry) -> Status:
    if entry.kind == COMMAND and entry.name in COMMANDS:
        return Status("shadowed", "metricforge has this command itself")
    return registry.status(entry)


def _section(title: str, entries: list[Entry], statuses: Statuses) -> None:
    if not entries:
        return
    click.secho(title, bold=True)
    rows = [(e.shown, e.origin, statuses[e].word, _line(e, statuses[e])) for e in entries]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for *cells, line in rows:
        table = "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        click.echo(_fitted(f"  {table}  {line}".rstrip()))


def _line(entry: Entry, status: Status) -> str:
    return status.reason or entry.summary()


def _fitted(line: str) -> str:
    """The line cut to the width of a terminal; a pipe gets it whole."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line)
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _record(entry: Entry, status: Status) -> dict[str, str]:
    return {
        "kind": entry.kind,
        "name": entry.shown,
        "distribution": entry.distribution,
        "version": entry.version,
        "status": status.word,
        "reason": status.reason,
        "location": entry.point.value,
        "summary": entry.summary(),
    }
