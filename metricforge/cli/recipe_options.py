"""The options of `metricforge train`, made from the options of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from metricforge.cli.completion import ComponentSpec
from metricforge.recipes.option import Option
from metricforge.recipes.recipe import options
from metricforge.spec import Spec

F = TypeVar("F", bound=Callable[..., Any])


class InSection(click.Option):
    """An option that the help shows in a section."""

    def __init__(self, *names: Any, section: str, **more: Any) -> None:
        super().__init__(*names, **more)
        self.section = section


def of_section(section: str, *names: str, **more: Any) -> Callable[[F], F]:
    """A click option that the help shows in a section."""
    return click.option(*names, cls=InSection, section=section, **more)


def recipe_options(function: F) -> F:
    """Give a command every option of a recipe; an omitted option is None."""
    for each in reversed(options().values()):
        function = of_section(each.about.section, *_flags(each), **_shown(each))(function)
    return function


def _flags(each: Option) -> tuple[str, str]:
    flag = (each.about.flag or each.name).replace("_", "-")
    if each.type is bool:
        on, _, off = (each.about.switch or f"{flag}/no-{flag}").partition("/")
        return f"--{on}/--{off}", each.name
    return f"--{flag}", each.name


def _shown(each: Option) -> dict[str, Any]:
    about = each.about
    default = about.usual or _default(each)
    more: dict[str, Any] = {
        "help": f"{about.help}  [default: {default}]" if default else about.help,
        "default": None,
        "multiple": each.several,
        "envvar": about.envvar,
    }
    if each.type is bool:
        return more
    kind = ComponentSpec(about.kind) if about.kind else None
    if each.type is Spec:
        return {**more, "type": kind or str, "metavar": "SPEC"}
    return {**more, "type": each.type, "metavar": about.metavar}


def _default(each: Option) -> str:
    """The default as the help names it; "" for none."""
    if each.type is bool:
        on, off = _flags(each)[0].split("/")
        return (on if each.default else off).removeprefix("--")
    if each.several:
        return " and ".join(map(str, each.default or ()))
    if each.about.envvar:
        return f"${each.about.envvar} or {each.default}"
    if isinstance(each.default, float):
        return f"{each.default:g}"
    return "" if each.default is None else str(each.default)
