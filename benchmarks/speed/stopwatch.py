"""Seconds that parts of a loop take, added up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Stopwatch:
    """Adds up the seconds that the functions it wraps take, and that items take to come."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self.seconds += time.perf_counter() - began

        return timed

    def awaited(self, items: Iterable[Any]) -> Iterator[Any]:
        """The same items, timed until each is there."""
        following, over = self.wrap(next), object()
        coming = iter(items)
        while (item := following(coming, over)) is not over:
            yield item
