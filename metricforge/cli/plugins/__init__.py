"""`metricforge plugins`: list, show, check and begin plugins."""

from __future__ import annotations

import click

from metricforge.cli.lazy import LazyGroup
from metricforge.cli.options import JSON, debug

COMMANDS = {
    "check": "Run the conformance kit on a component, or on all of a distribution.",
    "list": "List every component and command, with its distribution.",
    "new": "Begin a plugin: write a complete package.",
    "show": "Show one component: its options, its text, where it is, how to try it.",
}


@click.group(
    "plugins",
    cls=LazyGroup,
    package="metricforge.cli.plugins",
    lines=COMMANDS,
    invoke_without_command=True,
)
@JSON
@debug
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List, show, check and begin plugins; without a word more, list them.

    METRICFORGE_PLUGINS=a,b uses the plugins of the distributions a and b only.
    """
    if ctx.invoked_subcommand is None:
        listing = ctx.command.get_command(ctx, "list")  # type: ignore[attr-defined]
        ctx.invoke(listing, kind=None, as_json=as_json, importing=False)
