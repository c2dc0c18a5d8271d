"""Documents that differ from a valid one in structure: other types, sizes, depths and texts."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.target import Form
from tests.mutations import OTHERS

_MARK = "-replaced-by-a-text-that-no-writer-writes-"

# Deep enough for every recursion limit; numbers of more digits than Python reads.
_RAW = (
    "[" * 100_000,
    "[" * 900 + "]" * 900,
    "[" * 60_000 + "]" * 60_000,
    '{"a":' * 20_000 + "1" + "}" * 20_000,
    "{a=" * 20_000 + "1" + "}" * 20_000,
    "9" * 5_000,
    "9" * 400,
    "0." + "3" * 5_000,
    "1e400",
    "-1e400",
    "NaN",
    "nan",
    "-0.0",
    "5e-324",
    '"\\ud800"',
    '"\\udc80.png"',
    '"\\u0000"',
    '"\\u001b[31m"',
    "0x7fffffffffffffff",
    "0x" + "f" * 5_000,
    "1979-05-27T00:32:00.999999-07:00",
)
_TEXTS = (
    *("\0", "\n", "\x1b[2J", "..", "/", "../../etc/passwd", "none", "nan", "x:y=1", "object a:b"),
    *("\U0001f600", "\u0301", "\ufeff", "\u202e", "\ud800", "1" * 5_000, "x" * 70_000),
)
_NUMBERS = (0, 1, 2, -1, 255, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 1e308, 5e-324,
            0.5, -0.5, float("inf"), float("nan"))  # fmt: skip

_VALUES = st.one_of(
    st.sampled_from(OTHERS),
    st.sampled_from(_NUMBERS),
    st.sampled_from(_TEXTS),
    st.just(_MARK),
    st.sampled_from([[[]], [{}], {"": 0}, [None], ["a", 1], datetime.date(1979, 5, 27)]),
    st.integers(-(2**66), 2**66),
    st.text(max_size=4),
).map(copy.deepcopy)  # a later change may be one within it

Place = tuple[Any, Any]
"""A list or dict, and the index or key of a value in it."""


@st.composite
def documents(draw: st.DrawFn, seed: str, form: Form) -> bytes:
    """The text of a document with one to three values changed."""
    root = [form.parse(seed)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(root))
        change: Callable[[st.DrawFn, Place, list[Place]], None] = draw(st.sampled_from(_CHANGES))
        change(draw, draw(st.sampled_from(places)), places)
        if not root:
            break
    try:
        text = form.write(root[0] if root else None)
    except (TypeError, ValueError):  # what JSON or TOML can't have, e.g. a date
        text = form.write({})
    if _MARK in text:
        text = text.replace(f'"{_MARK}"', draw(st.sampled_from(_RAW)))
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[Place]:
    keys = range(len(value)) if isinstance(value, list) else value
    for key in keys if isinstance(value, list | dict) else ():
        yield value, key
        yield from _places(value[key])


def _replace(draw: st.DrawFn, place: Place, _places: list[Place]) -> None:
    place[0][place[1]] = draw(_VALUES)


def _remove(_draw: st.DrawFn, place: Place, _places: list[Place]) -> None:
    del place[0][place[1]]


def _transplant(draw: st.DrawFn, place: Place, places: list[Place]) -> None:
    """The value of another place: of a type and size that occurs."""
    holder, key = draw(st.sampled_from(places))
    place[0][place[1]] = copy.deepcopy(holder[key])


def _resize(draw: st.DrawFn, place: Place, _places: list[Place]) -> None:
    """A list or text shorter or longer, a number nearby or far away."""
    value = place[0][place[1]]
    if isinstance(value, list | str):
        value = value[draw(st.integers(0, 2)) :] * draw(st.sampled_from([0, 1, 2, 3, 200]))
    elif isinstance(value, int | float):
        value = draw(st.sampled_from([-value, value + 1, value - 1, value * 2, value * 10**6]))
    place[0][place[1]] = copy.deepcopy(value)


def _extend(draw: st.DrawFn, place: Place, _places: list[Place]) -> None:
    """A further key or element, or characters in a text."""
    holder, key = place
    value = holder[key]
    if isinstance(value, dict):
        value[draw(st.one_of(st.sampled_from(_TEXTS), st.text(max_size=3)))] = draw(_VALUES)
    elif isinstance(value, list):
        value.insert(draw(st.integers(0, len(value))), draw(_VALUES))
    elif isinstance(value, str):
        at = draw(st.integers(0, len(value)))
        piece = draw(st.one_of(st.sampled_from(_TEXTS), st.sampled_from(list('=,:+"\\ -.0'))))
        holder[key] = value[:at] + piece + value[at:]


def _rename(draw: st.DrawFn, place: Place, places: list[Place]) -> None:
    """Another key for the same value."""
    keyed = [(holder, key) for holder, key in places if isinstance(holder, dict)]
    holder, key = draw(st.sampled_from(keyed)) if keyed else place
    if isinstance(holder, dict):
        holder[draw(st.one_of(st.sampled_from(_TEXTS), st.text(max_size=3)))] = holder.pop(key)


_CHANGES = (_replace, _remove, _transplant, _resize, _extend, _rename)
