"""A recipe: every option of a training, and its record as TOML."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w

from metricforge.errors import UsageError, unknown

KINDS = ("dataset", "sampler", "miner", "loss", "backbone", "head")
"""The options of a recipe that are components, each by the name of its kind."""

OBJECT = "object "
"""How a record begins for a component that was given as a Python object, not as a spec."""


class Standard(str):
    """A default that nobody typed: it means metricforge's own, whoever else has the name."""


@dataclass(frozen=True)
class Recipe:
    """The options of a training.

    Components are specs ("hard-triplet:per_class=8") or Python objects: a class is built by
    the core, which gives it what it asks for; anything else is used as it is. None means: the
    default that suits, which the record of the run then states. Without `test` the test classes
    stay closed: for a trial, of which only the validation classes may judge.
    """

    dataset: Any = Standard("digits")
    split: str | None = None
    sampler: Any = Standard("hard-triplet")
    miner: Any = None
    loss: Any = None
    backbone: Any = Standard("conv4")
    head: Any = Standard("linear")
    dim: int = 64
    orientations: int | None = None
    augment: tuple[Any, ...] = ()
    epochs: int | None = None
    optimizer: str = "adamw"
    schedule: str = "cosine"
    protocols: tuple[str, ...] = (Standard("retrieval"), Standard("oneshot"))
    validation: str = Standard("retrieval")
    select: str = "map@r"
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    channels_last: bool = True
    data_root: str = "data"
    test: bool = True

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise UsageError(f"dim must be at least 1, not {self.dim}.")
        if self.epochs is not None and self.epochs < 1:
            raise UsageError(f"epochs must be at least 1, not {self.epochs}.")
        if self.seed < 0:
            raise UsageError(f"seed must be 0 or more, not {self.seed}.")

    def to_toml(self) -> str:
        """The recipe as TOML; what is None is left out, an object is named."""
        values = {key: _recorded(value) for key, value in vars(self).items() if value is not None}
        return tomli_w.dumps(values, multiline_strings=False)

    @classmethod
    def from_toml(cls, path: Path) -> Recipe:
        """The recipe in a TOML file; UsageError for an unknown key or a wrong type.

        A component that was a Python object stays what the record calls it; :meth:`specs_only`
        refuses it where it would have to be built.
        """
        try:
            values = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"can't read the config {path}: {error}.") from error
        return cls.from_values(values, str(path))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], source: str) -> Recipe:
        """A recipe from named values, checked; `source` says in errors where they come from."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        checked = {}
        for key, value in values.items():
            if key not in fields:
                raise unknown(f"key in {source}:", key, fields)
            checked[key] = _checked(key, value, str(fields[key].type), source)
        return cls(**checked)

    def specs_only(self, source: str) -> Recipe:
        """This recipe; UsageError when it names an object, which only its program can give."""
        each = [(key, value) for key, value in vars(self).items() if key != "augment"]
        for key, value in (*each, *(("augment", step) for step in self.augment)):
            if isinstance(value, str) and value.startswith(OBJECT):
                raise UsageError(
                    f"{source} has {key} = '{value}', an object of the program that made the "
                    "run: it can't be repeated from the config alone; repeat it from there."
                )
        return self

    def but(self, **changes: Any) -> Recipe:
        """The same recipe with some options changed."""
        return dataclasses.replace(self, **changes)

    def differences(self, other: Recipe) -> list[str]:
        """The options in which two recipes differ, as "key: mine / theirs"."""
        mine, theirs = vars(self), vars(other)
        # Where the data lies is no part of what it is: the fingerprint tells.
        return [
            f"{key}: {_recorded(mine[key])} / {_recorded(theirs[key])}"
            for key in mine
            if key != "data_root" and _recorded(mine[key]) != _recorded(theirs[key])
        ]


def described(component: Any) -> str:
    """A component as a record names it: its spec, or "object " and what it is."""
    if isinstance(component, str):
        return component
    owner = component.func if isinstance(component, partial) else component
    owner = owner if hasattr(owner, "__qualname__") else type(owner)
    return f"{OBJECT}{owner.__module__}:{owner.__qualname__}"


def _recorded(value: Any) -> Any:
    if isinstance(value, str | int | bool | None):
        return value
    return [described(one) for one in value] if isinstance(value, tuple) else described(value)


def _checked(key: str, value: Any, type_name: str, source: str) -> Any:
    if key == "protocols":
        texts = (value,) if isinstance(value, str) else tuple(value)
        return tuple(_checked("protocol", text, "str", source) for text in texts)
    if key == "augment":
        steps = value if isinstance(value, tuple | list) else (value,)
        return tuple(_checked("augmentation", step, "Any", source) for step in steps)
    expected = int if "int" in type_name else bool if "bool" in type_name else str
    if value is None or (type_name == "Any" and not isinstance(value, str | int)):
        return value
    if type(value) is not expected:
        raise UsageError(f"{source} has {key} = {value!r}; it takes {expected.__name__}.")
    return value
