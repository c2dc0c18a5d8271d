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

    description = describe(Registry.installed(), kind, Spec.parse(name))
    if as_json:
        print_json(_record(description))
    else:
        _print(description)


def _print(description: Description) -> None:
    click.secho(f"{description.entry.kind} {description.name}", bold=True, nl=False)
    click.echo(f"  ({description.entry.origin})")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    # Its arguments are listed as options below; indented text is wrapped as all else.
    doc = re.sub(r"(?m)^[ \t]+", "", _ARGUMENTS.sub("", description.doc))
    click.echo(click.wrap_text(doc, width, "  ", "  ", preserve_paragraphs=True))
    if description.members:
        usage = f"metricforge plugins show {description.entry.kind} {description.entry.name}NAME"
        click.echo(f"\nMembers ({usage} tells more of one):")
        names = ", ".join(f"{description.entry.name}{member}" for member in description.members)
        click.echo(click.wrap_text(names, width))
    if description.options:
        click.echo("\nOptions")
        rows = [_row(option) for option in description.options.values()]
        name_width, type_width = (max(len(row[column]) for row in rows) for column in (0, 1))
        for name, kind, default, sentence in rows:
            click.echo(f"  {name:{name_width}}  {kind:{type_width}}  {default}")
            if sentence:
                click.echo(click.wrap_text(sentence, width, "      ", "      "))
    if description.fault:
        click.secho(f"\nbroken     {description.fault}")
    if description.asks:
        click.echo(f"\nAsks the core for: {', '.join(description.asks)}")
    if description.file:
        click.echo(f"\nWritten in {description.file}:{description.line}")
    if description.example:
        click.echo(f"Try it:    {description.example}")


def _row(option: Option) -> tuple[str, str, str, str]:
    default = "required" if option.required else f"default {_shown(option.default)}"
    return option.name, option.type_name, default, option.help


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else written(value)


def _record(description: Description) -> dict[str, Any]:
    return {
        "kind": description.entry.kind,
        "name": description.name,
        "distribution": description.entry.distribution,
        "version": description.entry.version,
        "doc": description.doc,
        "asks": list(description.asks),
        "options": [
            {
                "name": option.name,
                "type": option.type_name,
                "required": option.required,
                "default": None if option.required else _plain(option.default),
                "help": option.help,
            }
            for option in description.options.values()
        ],
        "members": list(description.members),
        "file": description.file,
        "line": description.line,
        "example": description.example,
        "fault": description.fault,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, int | float | str | bool | None) else str(value)
