"""`metricforge plugins show`."""

from __future__ import annotations

import json
import re
import shutil
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

from metricforge.cli.completion import KIND, NameOfKind
from metricforge.cli.options import JSON, debug, print_json
from metricforge.registry import Registry
from metricforge.spec import Option, Spec, written

if TYPE_CHECKING:
    from metricforge.plugin_tools.description import Description


# The section of a docstring: its title, and the indented lines below it.
_ARGUMENTS = re.compile(r"^Args:\n(?:[ \t]+.*\n?|\n(?=[ \t]))+\n?", re.MULTILINE)


@click.command("show")
@click.argument("kind", type=KIND)
@click.argument("name", type=NameOfKind())
@JSON
@debug
def command(kind: str, name: str, as_json: bool) -> None:
    """Show one component: its options with types and defaults, its text, its file and line.

    \b
    metricforge plugins show sampler hard-triplet
    metricforge plugins show loss pml.            (the members of a family)
    """
    from metricforge.plugin_tools.description import describe

    found = describe(Registry.installed(), kind, Spec.parse(name))
    if as_json:
        print_json(_record(found))
    else:
        _print(found)


def _print(found: Description) -> None:
    click.secho(f"{found.entry.kind} {found.name}", bold=True, nl=False)
    click.echo(f"  ({found.entry.origin})")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    # Its arguments follow as options; what is indented is wrapped as the rest.
    doc = re.sub(r"(?m)^[ \t]+", "", _ARGUMENTS.sub("", found.doc))
    click.echo(click.wrap_text(doc, width, "  ", "  ", preserve_paragraphs=True))
    if found.members:
        one = f"metricforge plugins show {found.entry.kind} {found.entry.name}NAME"
        click.echo(f"\nMembers ({one} tells more of one):")
        names = ", ".join(f"{found.entry.name}{member}" for member in found.members)
        click.echo(click.wrap_text(names, width))
    if found.options:
        click.echo("\nOptions")
        rows = [_row(option) for option in found.options.values()]
        name_width, type_width = (max(len(row[column]) for row in rows) for column in (0, 1))
        for name, kind, default, sentence in rows:
            click.echo(f"  {name:{name_width}}  {kind:{type_width}}  {default}")
            if sentence:
                click.echo(click.wrap_text(sentence, width, "      ", "      "))
    if found.fault:
        click.secho(f"\nbroken     {found.fault}")
    if found.asks:
        click.echo(f"\nAsks the core for: {', '.join(found.asks)}")
    if found.file:
        click.echo(f"\nWritten in {found.file}:{found.line}")
    if found.example:
        click.echo(f"Try it:    {found.example}")


def _row(option: Option) -> tuple[str, str, str, str]:
    default = "required" if option.required else f"default {_shown(option.default)}"
    return option.name, option.type_name, default, option.help


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else written(value)


def _record(found: Description) -> dict[str, Any]:
    return {
        "kind": found.entry.kind,
        "name": found.name,
        "distribution": found.entry.distribution,
        "version": found.entry.version,
        "doc": found.doc,
        "asks": list(found.asks),
        "options": [
            {
                "name": option.name,
                "type": option.type_name,
                "required": option.required,
                "default": None if option.required else _plain(option.default),
                "help": option.help,
            }
            for option in found.options.values()
        ],
        "members": list(found.members),
        "file": found.file,
        "line": found.line,
        "example": found.example,
        "fault": found.fault,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, int | float | str | bool | None) else str(value)
