"""The description of an option of a training: its help, its bounds, and where it may be set."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from metricforge.errors import UsageError, unknown
from metricforge.spec import Spec

DATA = "Data"
COMPARED = "What is compared"
NETWORK = "Network"
LEARNING = "Learning"
JUDGING = "Judging"
RUN = "The run"
MACHINE = "The machine"

SECTIONS = (DATA, COMPARED, NETWORK, LEARNING, JUDGING, RUN, MACHINE)
"""The sections of `metricforge train --help`, in order."""

_ABOUT = "about"


@dataclass(frozen=True)
class About:
    """The description of an option, apart from its name, type and default.

    Args:
        help: One or two sentences.
        section: One of SECTIONS.
        usual: The meaning of a default of None, in words.
        metavar: The name of its value in the help; by default the name of its type.
        kind: The kind of component that it names, "" for none.
        switch: The two flags of a bool, as "channels-last/channels-first"; by default "x/no-x".
        flag: The flag on the command line, where it is not the name of the field.
        least: The lowest value.
        above: The value it must exceed.
        below: The value it must stay under.
        choices: All values of a text.
        aside: Whether a run may be resumed with another value: it has no influence on the result.
        tunable: Whether `tune` may search it.
        envvar: The environment variable that sets it.
    """

    help: str
    section: str
    usual: str = ""
    metavar: str | None = None
    kind: str = ""
    switch: str = ""
    flag: str = ""
    least: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    aside: bool = False
    tunable: bool = False
    envvar: str | None = None


@dataclass(frozen=True)
class Option:
    """A field of the recipe: its name, type, default and description.

    `type` is str, int, float or bool, also if the field may be None, and :class:`Spec` for a
    component. `several`: the field holds a tuple of them.
    """

    name: str
    type: type
    default: Any
    several: bool
    about: About

    @property
    def takes_objects(self) -> bool:
        """Whether a program may pass a Python object instead of the spec of a component."""
        return self.about.kind not in ("", "protocol")

    def check(self, value: Any) -> None:
        """Reject a number outside of the bounds, and a text that is none of the choices.

        Raises:
            UsageError: with the option, its bounds and the value.
        """
        about = self.about
        if value is None:
            return
        # Written this way round, each comparison is false for NaN.
        if about.least is not None and not value >= about.least:
            raise UsageError(f"{self.name} must be at least {about.least:g}, not {value}.")
        if about.below is not None and not (about.above or 0) < value < about.below:
            raise UsageError(
                f"{self.name} must be between {about.above:g} and {about.below:g}, not {value}."
            )
        if about.above is not None and not about.above < value < float("inf"):
            raise UsageError(f"{self.name} must be above {about.above:g}, not {value}.")
        if about.choices and value not in about.choices:
            raise unknown(self.name, value, about.choices)


def option(default: Any, help: str, section: str, **about: Any) -> Any:
    """A field of the recipe with this default and the description of :class:`About`."""
    return field(default=default, metadata={_ABOUT: About(help, section, **about)})


@cache
def declared_options(recipe: type) -> dict[str, Option]:
    """The options that the fields of a recipe's class declare, in order, by name."""
    hints = get_type_hints(recipe)
    declared = {}
    for entry in fields(recipe):
        kinds = [kind for kind in _alternatives(hints[entry.name]) if kind is not NoneType]
        several = get_origin(kinds[0]) is tuple
        held = _alternatives(get_args(kinds[0])[0]) if several else kinds
        kind = held[0] if held[0] in (str, int, float, bool) else Spec
        declared[entry.name] = Option(
            entry.name, kind, entry.default, several, entry.metadata[_ABOUT]
        )
    return declared


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
