"""As many trials for every approach, each judged by validation classes alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from metricforge.bench.records import DONE, Record
from metricforge.bench.suite import Approach, Planned, Suite
from metricforge.errors import unknown
from metricforge.registry import Registry
from metricforge.runs.recipe import Recipe
from metricforge.tuning import Chooser, Dimension, Search, read_options, searches

RANDOM = "random"


class Tuner:
    """Chooses the options of each approach, round by round: a trial of every one in each."""

    def __init__(self, suite: Suite, approaches: Sequence[Approach]) -> None:
        self._suite, tuning = suite, suite.tuning
        self._rounds = tuning.trials if tuning else 0
        self._approaches = [_Tuned(suite, approach) for approach in approaches if tuning]

    @property
    def trials(self) -> int:
        """How many there are in all."""
        return self._rounds * len(self._approaches)

    @property
    def chosen(self) -> Mapping[str, Mapping[str, str]]:
        """The best options so far of each approach, of which any trial could be trained."""
        return {
            tuned.approach.name: tuned.best for tuned in self._approaches if tuned.best is not None
        }

    def rounds(self) -> Iterator[list[Planned]]:
        """The trials of each round; :meth:`learn` comes before the next."""
        for number in range(1, self._rounds + 1):
            yield [tuned.next(number) for tuned in self._approaches]

    def learn(self, records: Iterable[Record | None]) -> None:
        """What became of the trials of a round, in their order."""
        for tuned, record in zip(self._approaches, records, strict=True):
            tuned.learn(record)


class _Tuned:
    """The search of one approach."""

    def __init__(self, suite: Suite, approach: Approach) -> None:
        assert suite.tuning is not None
        self.approach, self._suite = approach, suite
        recipe = Recipe.from_values({**suite.base, **approach.options}, suite.name)
        texts = suite.options_to_tune(approach)
        self._space: Sequence[Dimension] = read_options(texts, recipe, Registry.installed())
        self._select = recipe.select
        # Each approach has the same choices as it would have alone.
        self._search: Search = _found(suite.tuning.search)(0)
        self._asked: tuple[Chooser, Mapping[str, str]] | None = None
        self._best = float("-inf")
        self.best: Mapping[str, str] | None = None

    def next(self, number: int) -> Planned:
        chooser = self._search.ask()
        options = {dimension.key: dimension.pick(chooser) for dimension in self._space}
        self._asked = (chooser, options)
        return self._suite.trial_of(self.approach, number, options)

    def learn(self, record: Record | None) -> None:
        assert self._asked is not None
        chooser, options = self._asked
        done = record is not None and record.outcome == DONE
        score = record.validation.get(self._select) if record and done else None
        self._search.tell(chooser, score)
        if score is not None and score > self._best:
            self._best, self.best = score, options


def _found(name: str | None) -> Any:
    """The search of that name; without one, what the one plugin adds that has any, or random."""
    known = searches()
    if name is None:
        added = [other for other in known if other != RANDOM]
        name = added[0] if len(added) == 1 else RANDOM
    if name not in known:
        raise unknown("search", name, known)
    return known[name]
