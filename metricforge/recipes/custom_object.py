"""A component that a program passed as a Python object, not as a spec."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from metricforge.spec import Spec

OBJECT = "object "
"""The prefix in a record of a component that was passed as a Python object, not as a spec."""


@dataclass(frozen=True)
class CustomObject:
    """A component that a program passed as an object: a class to build, or a finished object.

    Args:
        name: "module:name" of its class or function.
        value: The object; None in a recipe that was read from a record, which has only its name.
    """

    name: str
    value: Any = None

    @classmethod
    def of(cls, value: Any) -> CustomObject:
        owner = value.func if isinstance(value, partial) else value
        owner = owner if hasattr(owner, "__qualname__") else type(owner)
        name = f"{owner.__module__}:{owner.__qualname__}"
        if isinstance(value, partial) and (value.args or value.keywords):
            arguments = [*map(_argument_text, value.args)]
            arguments += [f"{key}={_argument_text(each)}" for key, each in value.keywords.items()]
            name += f"({', '.join(arguments)})"
        return cls(name, value)

    @property
    def is_lost(self) -> bool:
        """Whether only its name is known, from a record: the object is in the run's own program."""
        return self.value is None

    @property
    def is_finished(self) -> bool:
        """Whether it is a finished object, not a class to build."""
        return not isinstance(self.value, type | partial)

    def __str__(self) -> str:
        return f"{OBJECT}{self.name}"


def _argument_text(value: Any) -> str:
    """A value in a record: the same text in another process."""
    plain = isinstance(value, int | float | str | tuple | None)
    return repr(value) if plain else type(value).__qualname__


Component = Spec | CustomObject
"""A component: its spec, or a Python object."""
