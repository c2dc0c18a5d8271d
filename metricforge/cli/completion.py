"""What the shell offers after TAB: names of components, read from metadata alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from metricforge.contracts import KINDS
from metricforge.entry_points import GROUPS
from metricforge.errors import unknown
from metricforge.registry import Registry

if TYPE_CHECKING:
    TextType = click.ParamType[str]
else:  # generic for type checkers only, in some releases of click
    TextType = click.ParamType


class ComponentSpec(TextType):
    """A spec of one kind; TAB completes its name."""

    name = "spec"

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        entries = [entry for entry in Registry.installed().entries() if entry.kind in self.kinds]
        return [
            CompletionItem(entry.name, help=entry.summary())
            for entry in entries
            if entry.name.startswith(incomplete)
        ]


class KindName(TextType):
    """The name of a kind, singular or plural, to the singular."""

    name = "kind"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        plurals = {kind.plural: kind.name for kind in KINDS.values()} | {
            "commands": "command",
            "searches": "search",
        }
        kind: str = plurals.get(value, value)
        if kind not in GROUPS.values():
            raise unknown("kind", value, GROUPS.values())
        return kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(kind) for kind in GROUPS.values() if kind.startswith(incomplete)]


class NameOfKind(TextType):
    """A spec of the kind that the argument `kind` before it names."""

    name = "spec"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        kind = str(ctx.params.get("kind") or "")
        return ComponentSpec(kind).shell_complete(ctx, param, incomplete)


KIND = KindName()
"""Takes `sampler` as well as `samplers`."""
