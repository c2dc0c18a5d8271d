"""JSON and TOML texts decoded to values of a required type."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, TypeVar, is_typeddict

import msgspec
from msgspec import Meta

from metricforge.errors import ArtefactError, unknown

T = TypeVar("T")

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A number of things, or an index; a tensor can hold it."""

Size = Annotated[int, Meta(ge=1, le=2**31 - 1)]
"""A number of things of which there is at least one, e.g. pixels."""

Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]


@dataclass(frozen=True)
class Versioned:
    """The format of a record; 0 where it has none."""

    format: int = 0


def parsed(text: str | bytes, parse: Callable[[Any], Any] = json.loads) -> Any:
    """The value of a text, by default JSON; ValueError for another format or too deep nesting."""
    try:
        return parse(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def parsed_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text; ValueError as :func:`parsed`.

    Integers of more than 64 bits, which are no TOML though Python's parser takes them, are a
    ValueError, too.
    """

    def parse(text: str) -> dict[str, Any]:
        table = tomllib.loads(text)
        _refuse_long_integers(table)
        return table

    table: dict[str, Any] = parsed(text, parse)
    return table


def _refuse_long_integers(value: Any) -> None:
    if isinstance(value, int) and abs(value) >= 2**64:
        raise ValueError("it has an integer of more than 64 bits")
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _refuse_long_integers(each)


def is_json(text: str | bytes) -> bool:
    """Whether a text is JSON."""
    try:
        parsed(text)
    except ValueError:
        return False
    return True


def typed(value: Any, kind: type[T], closed: bool = False) -> T:
    """A parsed value as a `kind`; ValueError, naming the field, for one of another type.

    A dataclass takes the fields it has; further ones are an error if `closed`, and ignored
    otherwise. A TypedDict declares some of the keys; the value itself is returned, with all keys.
    """
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:  # earlier ones are no ValueError
        raise ValueError(str(error)) from error
    if closed:
        refuse_unknown(value, converted)
    return value if is_typeddict(kind) else converted


def decoded(text: str | bytes, kind: type[T], closed: bool = False) -> T:
    """The value of a JSON text, as :func:`typed` returns it."""
    return typed(parsed(text), kind, closed)


def of_format(text: str | bytes, kind: type[T], newest: int, whose: str) -> T:
    """The value of a JSON text with a format number, a closed `kind`.

    ArtefactError for a format above `newest`, ValueError as :func:`typed`.
    """
    value = parsed(text)
    if (format := typed(value, Versioned).format) > newest:
        raise ArtefactError(
            f"{whose} format {format} and this metricforge reads up to {newest}: upgrade "
            "metricforge."
        )
    return typed(value, kind, closed=True)


def refuse_unknown(value: Any, converted: Any, path: str = "$") -> None:
    """ValueError if a value has keys that the dataclasses in its `converted` form do not have."""
    if is_dataclass(converted):
        # Not its __dict__, in which msgspec leaves defaults out.
        names = [field.name for field in fields(converted)]
        for name, each in value.items():
            if name not in names:
                raise ValueError(str(unknown(f"key of `{path}`:", name, names)).rstrip("."))
            refuse_unknown(each, getattr(converted, name), f"{path}.{name}")
    elif isinstance(converted, list | tuple) and any(map(is_dataclass, converted[:1])):
        for index, each in enumerate(value):
            refuse_unknown(each, converted[index], f"{path}[{index}]")
