"""`metricforge doctor`."""

from __future__ import annotations

from typing import Any

import click

from metricforge.cli.options import DEVICE, JSON, by_first_rank, debug, print_json


@click.command("doctor")
@DEVICE
@JSON
@debug
@by_first_rank
def command(device: str, as_json: bool) -> None:
    """Tell versions, devices and plugins, and train for a few seconds to see that all works.

    The exit code is 1 when the training does not work, and as that of `train` for a device that
    can't be used. A plugin that is broken is reported, and affects no other.
    """
    from metricforge import doctor
    from metricforge.registry import Registry
    from metricforge.runtime import Runtime

    Runtime.resolve(device)
    sections: dict[str, Any] = {
        "versions": doctor.versions(),
        "machine": doctor.machine(),
        "plugins": doctor.plugins(Registry.installed()),
    }
    checks = doctor.self_test(device)
    if as_json:
        print_json(sections | {"self_test": [vars(check) for check in checks]})
    else:
        _print(sections, checks)
    if any(check.wrong for check in checks):
        raise SystemExit(1)


def _print(sections: dict[str, Any], checks: list[Any]) -> None:
    from metricforge.report.page import printable

    machine = sections["machine"] | {"devices": ""}
    devices = {f"  {name}": value for name, value in sections["machine"]["devices"].items()}
    counts = {
        name: f"{n} component{'s' * (n != 1)}"
        for name, n in sections["plugins"]["distributions"].items()
    }
    for title, rows in (
        ("versions", sections["versions"]),
        ("machine", {**machine, **devices}),
        ("plugins", counts),
        ("broken plugins", sections["plugins"]["broken"]),
        ("self-test", {check.name: check.wrong or f"ok, {check.seconds} s" for check in checks}),
    ):
        if rows:
            click.secho(title, bold=True)
            width = max(map(len, rows))
            for name, value in rows.items():
                line = f"  {name.replace('_', ' ').ljust(width)}  {printable(str(value))}"
                click.echo(line.rstrip())
