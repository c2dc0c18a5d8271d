"""The dimensions of a search: the values of one option each, and how a trial picks one."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from metricforge.errors import UsageError

Read: TypeAlias = Callable[[str], object]
"""Parses the text of a value; ValueError if it is not of the option's type."""


class Chooser(Protocol):
    """Picks values, one of each option, e.g. one of optuna's trials."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        """One of `choices`."""

    def suggest_int(self, name: str, low: int, high: int, /, *, log: bool = ...) -> int:
        """A whole number from `low` to `high`; `log`: by its logarithm."""

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool = ...) -> float:
        """A number from `low` to `high`; `log`: by its logarithm."""


# Above this ratio the small end of a range would hardly be tried.
LOGARITHMIC = 10


@dataclass(frozen=True)
class Choice:
    """One of several values, as a spec writes them.

    Args:
        key: The option, e.g. "sampler.per_class".
        values: The values, as text.
    """

    key: str
    values: tuple[str, ...]

    def pick(self, chooser: Chooser) -> str:
        """The value for a trial, as text."""
        return str(chooser.suggest_categorical(self.key, self.values))

    def holds(self, text: str) -> bool:
        """Whether a trial may have this value."""
        return text in self.values

    def __str__(self) -> str:
        return f"{self.key}={','.join(map(_quoted, self.values))}"


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, by its logarithm if they are far apart.

    Args:
        key: The option, e.g. "sampler.per_class".
        low: Lowest value.
        high: Highest value.
    """

    key: str
    low: int
    high: int

    def pick(self, chooser: Chooser) -> str:
        """The value for a trial, as text."""
        log = _far_apart(self.low, self.high)
        return str(chooser.suggest_int(self.key, self.low, self.high, log=log))

    def holds(self, text: str) -> bool:
        """Whether a trial may have this value."""
        return _lies_between(self.low, text, self.high, int)

    def __str__(self) -> str:
        return f"{self.key}={self.low}..{self.high}"


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`, by its logarithm if they are far apart.

    Args:
        key: The option, e.g. "loss.margin".
        low: Lowest value.
        high: Highest value.
    """

    key: str
    low: float
    high: float

    def pick(self, chooser: Chooser) -> str:
        """The value for a trial, as text of four digits."""
        log = _far_apart(self.low, self.high)
        drawn = chooser.suggest_float(self.key, self.low, self.high, log=log)
        # Rounding must not lead out of the range.
        return repr(min(max(float(f"{drawn:.4g}"), self.low), self.high))

    def holds(self, text: str) -> bool:
        """Whether a trial may have this value."""
        return _lies_between(self.low, text, self.high, float)

    def __str__(self) -> str:
        return f"{self.key}={self.low!r}..{self.high!r}"


Dimension: TypeAlias = Choice | Whole | Real


def dimension(key: str, text: str, numeric: type | None, read: Read, takes: str) -> Dimension:
    """Parse `a,b,c` or `low..high` as the values of an option.

    Args:
        key: The option.
        text: Its values.
        numeric: int or float if the option takes such numbers, or None.
        read: Parses one of its values.
        takes: Name of its type, for errors.

    Returns:
        The dimension.

    Raises:
        UsageError: A value has another type or is given twice, or a range is empty or not of
            numbers.
    """
    if numeric is not None and ".." in text:
        return _range(key, text, numeric, takes)
    values = _listed(key, text)
    for value in values:
        _read(key, value, read, takes)
    if len(set(values)) < len(values):
        raise UsageError(f"option {key}={text}: a value is given twice.")
    return Choice(key, values)


def _listed(key: str, text: str) -> tuple[str, ...]:
    """Values between commas; one that has commas of its own is in double quotes."""
    try:
        values = next(csv.reader([text], strict=True)) or [""]
    except csv.Error as error:
        raise UsageError(f"option {key}={text}: can't read the values: {error}.") from error
    return tuple(value.strip() for value in values)


def _range(key: str, text: str, numeric: type, takes: str) -> Dimension:
    low, _, high = text.partition("..")
    ends = [_read(key, end.strip(), numeric, takes) for end in (low, high)]
    first, last = (float(str(end)) for end in ends)
    if not (first < last and math.isfinite(last - first)):
        raise UsageError(f"option {key}={text}: a range is LOW..HIGH, finite, the lower first.")
    return Whole(key, int(first), int(last)) if numeric is int else Real(key, first, last)


def _read(key: str, text: str, read: Callable[[str], object], takes: str) -> object:
    try:
        return read(text)
    except ValueError:
        raise UsageError(f"option {key} takes {takes}, not '{text}'.") from None


def _lies_between(low: float, text: str, high: float, read: type) -> bool:
    try:
        return bool(low <= read(text) <= high)
    except ValueError:
        return False


def _far_apart(low: float, high: float) -> bool:
    return low > 0 and high / low >= LOGARITHMIC


def _quoted(value: str) -> str:
    doubled = value.replace('"', '""')
    return f'"{doubled}"' if "," in value or '"' in value else value
