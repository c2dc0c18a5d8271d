"""`metricforge plugins check`."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from metricforge.cli.completion import KIND, ComponentSpec
from metricforge.cli.options import DATA_ROOT, JSON, debug, print_json
from metricforge.contracts import KINDS
from metricforge.errors import PluginError

if TYPE_CHECKING:
    from metricforge.plugin_tools.checking import Examined

COLOURS = {"passed": "green", "failed": "red"}


@click.command("check")
@click.argument("what", type=ComponentSpec(*KINDS))
@click.option("--kind", type=KIND, help="Where a name is of more than one kind.")
@DATA_ROOT
@JSON
@debug
def command(what: str, kind: str | None, data_root: str | None, as_json: bool) -> None:
    """Run the conformance kit on WHAT: a distribution, or the spec of one component.

    \b
    metricforge plugins check my-package
    metricforge plugins check my-idea:size=4

    Exit code 4 when a check fails.
    """
    from metricforge.plugin_tools.checking import examine

    components = []
    for component in examine(what, kind, data_root):
        components.append(component)
        if not as_json:
            _print(component)
    if as_json:
        print_json([_record(component) for component in components])
    failed = [
        f"{component.kind} {component.spec}" for component in components if component.failures
    ]
    if failed:
        count = sum(len(component.failures) for component in components)
        checks = "check" if count == 1 else "checks"
        raise PluginError(f"{count} {checks} failed, of {', '.join(failed)}.")


def _print(component: Examined) -> None:
    click.secho(f"{component.kind} {component.spec}", bold=True, nl=False)
    click.echo(f"  ({component.origin})")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for finding in component.findings:
        click.secho(f"  {finding.outcome:7}", fg=COLOURS.get(finding.outcome), nl=False)
        text = f"{finding.check}: {finding.says}"
        click.echo(click.wrap_text(text, width, "  ", " " * 11))


def _record(component: Examined) -> dict[str, Any]:
    return {
        "kind": component.kind,
        "spec": component.spec,
        "distribution": component.origin,
        "passed": not component.failures,
        "findings": [vars(finding) for finding in component.findings],
    }
