"""The commands that plugins add, through the entry-point group `metricforge.commands`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import click

from metricforge.cli.lazy import LazyGroup
from metricforge.entry_points import COMMAND
from metricforge.errors import MetricForgeError, PluginError, told
from metricforge.registry import Entry, Registry, load
from metricforge.spec import Spec

CLICK = (click.ClickException, click.exceptions.Exit, click.Abort)


class WithPlugins(LazyGroup):
    """The core's commands and, after them, those of plugins; a plugin can't replace the core's."""

    def lines_of_help(self) -> Mapping[str, str]:
        added = Registry.installed().entries(COMMAND)
        lines = {entry.name: f"{entry.summary()} ({entry.distribution})" for entry in added}
        return {**lines, **self.lines}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        distribution, _, name = cmd_name.rpartition(":")
        registry = Registry.installed()
        if name not in [entry.name for entry in registry.entries(COMMAND)]:
            return None
        entry = registry.find(COMMAND, Spec(name, distribution=distribution or None))
        return _blamed(_command(entry), entry)


def _command(entry: Entry) -> click.Command:
    command = load(entry)
    if not isinstance(command, click.Command):
        raise PluginError(
            f"command '{entry.name}' of {entry.origin} ({entry.point.value}) must be a "
            f"click.Command, not {type(command).__name__}."
        )
    return command


def _blamed(command: click.Command, entry: Entry) -> click.Command:
    """The same command; an error in it is reported as its distribution's fault."""

    def blamed(call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **more: Any) -> Any:
            try:
                return call(*args, **more)
            except (MetricForgeError, *CLICK, BrokenPipeError):
                raise
            except Exception as error:
                whose = f"command '{entry.name}' of {entry.origin}"
                raise PluginError(f"{whose} failed: {told(error)}.") from error

        return guarded

    guarded = copy.copy(command)
    guarded.invoke = blamed(guarded.invoke)  # type: ignore[method-assign]
    guarded.make_context = blamed(guarded.make_context)  # type: ignore[method-assign]
    return guarded
