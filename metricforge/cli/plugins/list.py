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
@click.option("--import", "importing", is_flag=True, help="Import each, in a process of its own, "
              "to tell which are broken.")  # fmt: skip
@JSON
@debug
def command(kind: str | None, importing: bool, as_json: bool) -> None:
    """List every component and command, with its distribution, its state and one line.

    KIND narrows the list: sampler, miner, loss, head, backbone, dataset, augmentation, protocol,
    hook, command or search.
    A state is ok, broken or shadowed; nothing is imported to tell, unless --import asks for it.
    """
    registry = Registry.installed()
    entries = registry.entries(kind)
    statuses = {entry: _status(registry, entry) for entry in entries}
    if importing:
        from metricforge.plugin_tools.importing import tried

        statuses = tried(statuses)
    for point in registry.misplaced:
        click.echo(f"note: {registry.told_of(point)}", err=True)
    if as_json:
        print_json([_record(entry, statuses[entry]) for entry in entries])
        return
    for name, plural in ((name, each.plural) for name, each in KINDS.items()):
        _section(plural, [entry for entry in entries if entry.kind == name], statuses)
    for name, plural in ((COMMAND, "commands"), (SEARCH, "searches")):
        _section(plural, [entry for entry in entries if entry.kind == name], statuses)


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
    return entry.summary() if status.word == "ok" else status.reason


def _fitted(line: str) -> str:
    """The line cut to the width of the terminal, if it is one; a pipe gets all of it."""
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
