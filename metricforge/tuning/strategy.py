"""Searches: a plugin that chooses the next options, at random or by earlier trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from metricforge.entry_points import SEARCH
from metricforge.errors import MetricForgeError, PluginError, told
from metricforge.registry import Registry, load
from metricforge.spec import Spec, bind
from metricforge.tuning.space import Chooser, Dimension

RANDOM = "random"


class Search(Protocol):
    """Chooses the options of trials; built from a seed.

    The same seed and scores give the same options, so that a search can be repeated.
    """

    def ask(self) -> Chooser:
        """The chooser of the next trial's options."""
        ...

    def tell(self, chooser: Chooser, score: float | None) -> None:
        """Report the score of a trial.

        Args:
            chooser: The trial's, from :meth:`ask`.
            score: Higher is better; None if it could not be trained.
        """
        ...


class Searching:
    """A search of a space, by its name; errors in it are reported as its plugin's.

    Args:
        name: Spec of the search, e.g. "random".
        seed: Seed of its choices.
        space: The dimensions of the search.
        registry: Registry of components.
    """

    def __init__(
        self, name: str, seed: int, space: Sequence[Dimension], registry: Registry
    ) -> None:
        self.name, self._space = name, space
        spec = Spec.parse(name)
        self._entry = registry.find(SEARCH, spec)
        made = load(self._entry)
        options = bind(made, spec, f"search '{spec.name}'")
        with self._blaming():
            self._search: Search = made(seed, **options)

    def ask(self) -> dict[str, str]:
        """Choose the options of the next trial.

        Returns:
            The options, as text, by key.
        """
        with self._blaming():
            self._chooser = self._search.ask()
            return {dimension.key: dimension.pick(self._chooser) for dimension in self._space}

    def tell(self, score: float | None) -> None:
        """Report the score of the trial that was asked for last.

        Args:
            score: Higher is better; None if it could not be trained.
        """
        with self._blaming():
            self._search.tell(self._chooser, score)

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        try:
            yield
        except MetricForgeError:
            raise
        except Exception as error:
            entry = self._entry
            raise PluginError(
                f"search '{entry.name}' of {entry.origin} failed: {told(error)}."
            ) from error


def usual_search(registry: Registry) -> str:
    """The default search: the one that a plugin adds if exactly one is added, else random.

    Args:
        registry: Registry of components.

    Returns:
        The name of the search.
    """
    added = [entry.name for entry in registry.entries(SEARCH) if entry.name != RANDOM]
    return added[0] if len(added) == 1 else RANDOM
