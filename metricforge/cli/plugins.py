"""`metricforge plugins`: every component there is; nothing is imported."""

from __future__ import annotations

import shutil
import sys

import click

from metricforge.cli.options import JSON, debug, print_json
from metricforge.contracts import KINDS
from metricforge.errors import unknown
from metricforge.registry import Entry, Registry


@click.command("plugins")
@click.argument("kind", required=False)
@JSON
@debug
def command(kind: str | None, as_json: bool) -> None:
    """List every component, with its distribution and one line.

    KIND narrows the list: sampler, miner, loss, head, backbone, dataset or protocol.
    """
    singular = {plural.plural: plural.name for plural in KINDS.values()}
    kind = singular.get(kind, kind) if kind else None
    if kind is not None and kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    entries = Registry.installed().entries(kind)
    if as_json:
        print_json([_record(entry) for entry in entries])
        return
    for name, each in KINDS.items():
        found = [entry for entry in entries if entry.kind == name]
        if found:
            click.secho(each.plural, bold=True)
            _table(found)


def _table(entries: list[Entry]) -> None:
    name_width = max(len(entry.shown) for entry in entries)
    origin_width = max(len(entry.origin) for entry in entries)
    for entry in entries:
        line = f"  {entry.shown:{name_width}}  {entry.origin:{origin_width}}  {entry.summary()}"
        click.echo(_fitted(line.rstrip()))


def _fitted(line: str) -> str:
    """The line cut to the width of the terminal, if it is one; a pipe gets all of it."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(line)
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _record(entry: Entry) -> dict[str, str]:
    return {
        "kind": entry.kind,
        "name": entry.shown,
        "distribution": entry.distribution,
        "version": entry.version,
        "location": entry.point.value,
        "summary": entry.summary(),
    }
