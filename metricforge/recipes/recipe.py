"""A recipe: every option of a training, and its record as TOML."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w

from metricforge.errors import UsageError, unknown

BATCH_NORMS = ("batch", "frozen")
KINDS = ("dataset", "sampler", "miner", "loss", "backbone", "head")
"""The options of a recipe that are components, each by the name of its kind."""

OBJECT = "object "
"""How a record begins for a component that was given as a Python object, not as a spec."""


COUNTS = (
    "dim", "epochs", "images", "patience", "chunk", "accumulate", "save_steps", "keep", "workers",
)  # fmt: skip
PLAIN = (str, int, float, list, dict, date)
"""What a file may hold in the place of a component, of which only a text names one."""

NONE = "none"
"""What stands for no augmentation, where the default would be some."""

LISTS = {"augment": "augmentation", "hooks": "hook"}
"""The options of a recipe that are several components in order, each by the name of its kind."""
ASIDE = frozenset({"hooks", "data_root", "save_steps", "save_minutes", "keep", "workers"})
"""The options that have no share in what a run finds: a run may go on with others."""


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

    dataset: Any = Standard("glyphs")
    split: str | None = None
    sampler: Any = Standard("hard-triplet")
    miner: Any = None
    loss: Any = None
    backbone: Any = Standard("conv4")
    head: Any = Standard("linear")
    dim: int = 64
    orientations: int | None = None
    augment: tuple[Any, ...] | None = None
    hooks: tuple[Any, ...] = ()
    epochs: int | None = None
    images: int | None = None
    seconds: float | None = None
    optimizer: str = "adamw"
    schedule: str = "cosine"
    rates: str | None = None
    freeze: int = 0
    batch_norm: str = "batch"
    clip: float | None = None
    ema: float | None = None
    patience: int | None = None
    chunk: int | None = None
    accumulate: int = 1
    protocols: tuple[str, ...] = (Standard("retrieval"), Standard("oneshot"))
    validation: str = Standard("retrieval")
    select: str = "map@r"
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    channels_last: bool = True
    compile: bool = False
    save_steps: int | None = None
    save_minutes: float = 10.0
    keep: int = 2
    workers: int | None = None
    data_root: str = "data"
    test: bool = True

    def __post_init__(self) -> None:
        if self.augment == (NONE,):
            object.__setattr__(self, "augment", ())
        if NONE in (self.augment or ()):
            raise UsageError("augment none goes alone: leave it out to take the others.")
        for name in COUNTS:
            _at_least(1, name, getattr(self, name))
        for name in ("seed", "freeze", "save_minutes"):
            _at_least(0, name, getattr(self, name))
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UsageError(f"seconds must be above 0, not {self.seconds}.")
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise UsageError(f"clip must be above 0, not {self.clip}.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError(f"ema must be between 0 and 1, such as 0.999, not {self.ema}.")
        if self.batch_norm not in BATCH_NORMS:
            raise unknown("batch_norm", self.batch_norm, BATCH_NORMS)

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
        """This recipe; UsageError when it names an object, which only its program can give.

        Hooks are let pass: without one a run finds the same.
        """
        each = [(key, value) for key, value in vars(self).items() if key not in LISTS]
        listed = [(key, value) for key in LISTS for value in getattr(self, key) or ()]
        for key, value in (*each, *listed):
            if is_recorded_object(value) and key not in ASIDE:
                raise UsageError(
                    f"{source} has {key} = '{value}', an object of the program that made the "
                    "run: it can't be repeated from the config alone; repeat it from there."
                )
        return self

    def but(self, **changes: Any) -> Recipe:
        """The same recipe with some options changed."""
        return dataclasses.replace(self, **changes)

    def aside(self) -> dict[str, Any]:
        """The options that have no share in what a run finds."""
        return {key: value for key, value in vars(self).items() if key in ASIDE}

    def differences(self, other: Recipe) -> list[str]:
        """The options in which two recipes differ, as "key: mine / theirs"."""
        mine, theirs = vars(self), vars(other)
        return [
            f"{key}: {_recorded(mine[key])} / {_recorded(theirs[key])}"
            for key in mine
            if key not in ASIDE and _recorded(mine[key]) != _recorded(theirs[key])
        ]


def is_recorded_object(component: Any) -> bool:
    """Whether this is only what a record calls an object of the program that made a run."""
    return isinstance(component, str) and component.startswith(OBJECT)


def described(component: Any) -> str:
    """A component as a record names it: its spec, or "object " and what it is."""
    if isinstance(component, str):
        return component
    owner = component.func if isinstance(component, partial) else component
    owner = owner if hasattr(owner, "__qualname__") else type(owner)
    return f"{OBJECT}{owner.__module__}:{owner.__qualname__}"


def _at_least(least: int, name: str, value: float | None) -> None:
    # Said this way round, the comparison is false for NaN.
    if value is not None and not value >= least:
        raise UsageError(f"{name} must be at least {least}, not {value}.")


def _recorded(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    return [described(one) for one in value] if isinstance(value, tuple) else described(value)


def _part(key: str, part: Any, source: str) -> Any:
    """One of several components: a spec, or an object that Python gives."""
    if part is None or isinstance(part, int | float | list | tuple | dict):
        raise UsageError(
            f"{source} has {key} with {part!r} in it; it takes a list of specs, and none is []."
        )
    return part


def _checked(key: str, value: Any, type_name: str, source: str) -> Any:
    if key == "protocols":
        texts = tuple(value) if isinstance(value, tuple | list) else (value,)
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise UsageError(f"{source} has protocols with {wrong[0]!r} in it; it takes str.")
        return texts
    if key in LISTS:
        if value is None and key == "augment":
            return None
        parts = value if isinstance(value, tuple | list) else (value,)
        return tuple(_part(key, part, source) for part in parts)
    if value is None or (type_name == "Any" and not isinstance(value, PLAIN)):
        return value
    if "float" in type_name and type(value) in (int, float):
        return float(value)
    named = {"int": int, "bool": bool, "float": float}
    expected = next((kind for name, kind in named.items() if name in type_name), str)
    # A default is a text of its own kind; true is no number.
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise UsageError(f"{source} has {key} = {value!r}; it takes {expected.__name__}.")
    return value
