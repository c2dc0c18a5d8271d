"""Who chooses what is tried next: at random, or a plugin that learns from what was tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from metricforge.contracts import SEARCHES
from metricforge.errors import PluginError, told
from metricforge.installed import installed_points
from metricforge.tuning.space import Chooser


class Search(Protocol):
    """Made of a seed; the same answers to the same seed and scores, so that it can be repeated."""

    def ask(self) -> Chooser:
        """What chooses the options of the next trial."""
        ...

    def tell(self, chooser: Chooser, score: float | None) -> None:
        """How good they were, more being better; None where they could not be trained."""
        ...


class RandomSearch:
    """Tries options at random, evenly, or by their logarithm where a range is wide.

    As good as most in few trials (Bergstra 2012).
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def ask(self) -> Chooser:
        return _AtRandom(self._rng)

    def tell(self, chooser: Chooser, score: float | None) -> None:
        """It does not learn."""


class _AtRandom:
    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def suggest_categorical(self, name: str, choices: Sequence[str], /) -> str:
        return choices[int(self._rng.integers(len(choices)))]

    def suggest_int(self, name: str, low: int, high: int, /, *, log: bool = False) -> int:
        if not log:
            return int(self._rng.integers(low, high + 1))
        # Each number has the share of the line from half before it to half behind it.
        return round(self._between(low - 0.5, high + 0.5, log=True))

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool = False) -> float:
        return self._between(low, high, log=log)

    def _between(self, low: float, high: float, *, log: bool) -> float:
        if log:
            return math.exp(self._rng.uniform(math.log(low), math.log(high)))
        return float(self._rng.uniform(low, high))


def searches() -> Mapping[str, Callable[[int], Search]]:
    """Those that are installed, by name: `random`, and what plugins add; each takes a seed."""
    points = {point.name: point for point in installed_points() if point.group == SEARCHES}

    def made(name: str) -> Callable[[int], Search]:
        def build(seed: int) -> Search:
            try:
                search: Search = points[name].load()(seed)
            except Exception as error:
                raise PluginError(f"search '{name}' failed: {told(error)}.") from error
            return search

        return build

    return {"random": RandomSearch} | {name: made(name) for name in points}
