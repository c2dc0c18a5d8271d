"""The search `random`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


class RandomSearch:
    """Tries options at random, evenly, or by their logarithm where a range is wide.

    As good as most in few trials (Bergstra 2012).

    Args:
        seed: Seed of the choices.

    Reference: Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, 2012.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def ask(self) -> AtRandom:
        return AtRandom(self._rng)

    def tell(self, chooser: AtRandom, score: float | None) -> None:
        """Ignore the score: a random search does not learn."""


class AtRandom:
    """Chooses values for one trial."""

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
