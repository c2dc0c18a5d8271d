"""Who chooses what is tried next: a plugin, at random or by what was tried before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from metricforge.entry_points import SEARCH
from metricforge.errors import PluginError, told
from metricforge.registry import Registry, load
from metricforge.spec import Spec, bind
from metricforge.tuning.space import Chooser, Dimension

RANDOM = "random"


class Search(Protocol):
    """Made of a seed; the same answers to the same seed and scores, so that it can be repeated."""

    def ask(self) -> Chooser:
        """What chooses the options of the next trial."""
        ...

    def tell(self, chooser: Chooser, score: float | None) -> None:
        """How good they were, more being better; None where they could not be trained."""
        ...


class Searching:
    """A search by its name, of whose faults its plugin is told."""

    def __init__(self, name: str, seed: int, registry: Registry) -> None:
        self.name = name
        spec = Spec.parse(name)
        self._entry = registry.find(SEARCH, spec)
        made = load(self._entry)
        options = bind(made, spec, f"search '{spec.name}'")
        with self._blaming():
            self._search: Search = made(seed, **options)

    def ask(self, space: Sequence[Dimension]) -> tuple[Chooser, dict[str, str]]:
        """The next options to try, by their keys."""
        with self._blaming():
            chooser = self._search.ask()
            return chooser, {dimension.key: dimension.pick(chooser) for dimension in space}

    def tell(self, chooser: Chooser, score: float | None) -> None:
        with self._blaming():
            self._search.tell(chooser, score)

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            entry = self._entry
            raise PluginError(
                f"search '{entry.name}' of {entry.origin} failed: {told(error)}."
            ) from error


def usual_search(registry: Registry) -> str:
    """What chooses where nothing is said: the one that a plugin adds, where one adds any."""
    added = [entry.name for entry in registry.entries(SEARCH) if entry.name != RANDOM]
    return added[0] if len(added) == 1 else RANDOM
