"""Groups of commands that import a command's file only when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from metricforge.errors import unknown


class LazyGroup(click.Group):
    """Commands by name with their line of help; `package` holds a module for each.

    `--help` then answers without importing any of them.
    """

    def __init__(self, *args: Any, package: str, lines: Mapping[str, str], **more: Any) -> None:
        super().__init__(*args, **more)
        self.package, self.lines = package, lines

    def lines_of_help(self) -> Mapping[str, str]:
        """Every command there is, with the line that `--help` shows for it."""
        return self.lines

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.lines_of_help())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lines:
            return None
        command: click.Command = import_module(f"{self.package}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        # While TAB is answered, a message would land in the line that is being typed.
        if command is None and not name.startswith("-") and not ctx.resilient_parsing:
            raise unknown("command", name, self.list_commands(ctx))
        return super().resolve_command(ctx, args) if command is None else (name, command, args[1:])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        lines = sorted(self.lines_of_help().items())
        matches = [CompletionItem(n, help=line) for n, line in lines if n.startswith(incomplete)]
        return [*matches, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self.lines_of_help().items()))
