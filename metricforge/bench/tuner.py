"""As many trials for every approach, each judged by validation classes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

from metricforge.bench.result_file import DONE, Record
from metricforge.bench.suite import Approach, Planned, Suite, Tuned
from metricforge.errors import UsageError
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.scoring.measure import goodness
from metricforge.tuning import Chooser, Dimension, Searching, read_options, usual_search


class Tuner:
    """Chooses the options of each approach, round by round: a trial of every one in each.

    With folds each is tuned on each of them, so that no class that is tested has chosen anything.
    """

    def __init__(
        self, suite: Suite, approaches: Sequence[Approach], searched_by: str | None = None
    ) -> None:
        self._rounds = suite.tuning.trials if suite.tuning else 0
        self._searches = []
        if suite.tuning:
            registry = Registry.installed()
            # What was begun with one search is gone on with by it, whatever is installed by now.
            search = suite.tuning.search or searched_by or usual_search(registry)
            self._searches = [
                _Search(suite, approach, fold, search, registry)
                for approach, fold in product(approaches, suite.each_fold)
            ]
        self._tuning = suite.tuning

    @property
    def trials(self) -> int:
        """How many there are in all."""
        return self._rounds * len(self._searches)

    @property
    def chosen(self) -> Tuned | None:
        """The best options of each approach that could be trained; None where nothing is tuned."""
        if self._tuning is None:
            return None
        return {search.key: search.best for search in self._searches if search.best is not None}

    def rounds(self) -> Iterator[list[Planned]]:
        """The trials of each round; :meth:`learn` comes before the next."""
        for number in range(1, self._rounds + 1):
            yield [search.next(number) for search in self._searches]

    def learn(self, record_of: Callable[[Planned], Record | None]) -> None:
        """What became of the trials of a round."""
        for search in self._searches:
            search.learn(record_of)


def searched_by(records: Sequence[Record]) -> str | None:
    """Who has chosen the trials that are there; they are gone on with by the same."""
    return next((record.search for record in records if record.trial is not None), None)


def space_of(suite: Suite, approach: Approach, registry: Registry) -> tuple[Dimension, ...]:
    """What may be tried of an approach."""
    return read_options(suite.options_to_tune(approach), _recipe(suite, approach), registry)


def _recipe(suite: Suite, approach: Approach) -> Recipe:
    return Recipe.from_values({**suite.base, **approach.options}, suite.name)


def score_of(suite: Suite, trial: Record) -> float:
    """How good a trial is, more being better, by what its recipe selects by."""
    approach = next(one for one in suite.approaches if one.name == trial.approach)
    select = _recipe(suite, approach).select
    if select not in trial.validation:
        raise UsageError(
            f"suite '{suite.name}' tunes by {select} of validation classes, and its split has none."
        )
    return goodness(select, trial.validation[select])


class _Search:
    """The search of one approach on one fold."""

    def __init__(
        self,
        suite: Suite,
        approach: Approach,
        fold: int | None,
        search: str,
        registry: Registry,
    ) -> None:
        self.key, self._approach, self._fold = (approach.name, fold), approach, fold
        self._suite = suite
        self._space = space_of(suite, approach, registry)
        # Each approach has the same choices as it would have alone.
        self._search = Searching(search, 0, registry)
        self._asked: tuple[Chooser, Planned] | None = None
        self._best = float("-inf")
        self.best: Mapping[str, str] | None = None

    def next(self, number: int) -> Planned:
        chooser, options = self._search.ask(self._space)
        name = self._search.name
        trial = self._suite.trial_of(self._approach, self._fold, number, options, name)
        self._asked = (chooser, trial)
        return trial

    def learn(self, record_of: Callable[[Planned], Record | None]) -> None:
        assert self._asked is not None
        chooser, trial = self._asked
        record = record_of(trial)
        score = score_of(self._suite, record) if record and record.outcome == DONE else None
        self._search.tell(chooser, score)
        if score is not None and score > self._best:
            self._best, self.best = score, trial.tuned
