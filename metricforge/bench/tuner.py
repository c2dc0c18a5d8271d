"""As many trials for every approach, each judged by validation classes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

from metricforge.bench.records import DONE, Record
from metricforge.bench.suite import Approach, Planned, Suite, Tuned
from metricforge.errors import UsageError
from metricforge.registry import Registry
from metricforge.runs.measure import goodness
from metricforge.runs.recipe import Recipe
from metricforge.tuning import Chooser, Searching, read_options, usual_search


class Tuner:
    """Chooses the options of each approach, round by round: a trial of every one in each.

    With folds each is tuned on each of them, so that no class that is tested has chosen anything.
    """

    def __init__(self, suite: Suite, approaches: Sequence[Approach]) -> None:
        self._suite, self._tuning = suite, suite.tuning
        self._rounds = suite.tuning.trials if suite.tuning else 0
        each = product(approaches, suite.each_fold) if suite.tuning else ()
        registry = Registry.installed()
        self._searches = [_Search(suite, approach, fold, registry) for approach, fold in each]

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


def asked_for(suite: Suite, records: Sequence[Record]) -> list[Record]:
    """Those of the records that the suite asks for, not of what it once was.

    Runs count that have the options which its trials have chosen by now; seeds beyond its own are
    more of the same.
    """
    known = {record.id: record for record in records}
    tuner = Tuner(suite, suite.approaches)
    asked: dict[str, Record] = {}

    def found(planned: Planned) -> Record | None:
        record = known.get(suite.identity(planned))
        if record is not None:
            asked[record.id] = record
        return record

    for _ in tuner.rounds():
        tuner.learn(found)
    tuned = tuner.chosen
    seeds = {record.seed for record in records if record.trial is None} | set(range(suite.seeds))
    for approach, fold, seed in product(suite.approaches, suite.each_fold, sorted(seeds)):
        if tuned is None or (approach.name, fold) in tuned:
            options = {} if tuned is None else tuned[approach.name, fold]
            found(suite.run_of(approach, seed, fold, options))
    return [record for record in records if record.id in asked]


class _Search:
    """The search of one approach on one fold."""

    def __init__(
        self, suite: Suite, approach: Approach, fold: int | None, registry: Registry
    ) -> None:
        assert suite.tuning is not None
        self.key, self._approach, self._fold = (approach.name, fold), approach, fold
        self._suite = suite
        recipe = Recipe.from_values({**suite.base, **approach.options}, suite.name)
        self._space = read_options(suite.options_to_tune(approach), recipe, registry)
        self._select = recipe.select
        # Each approach has the same choices as it would have alone.
        self._search = Searching(suite.tuning.search or usual_search(registry), 0, registry)
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
        score = self._score(record) if record and record.outcome == DONE else None
        self._search.tell(chooser, score)
        if score is not None and score > self._best:
            self._best, self.best = score, trial.tuned

    def _score(self, record: Record) -> float:
        if self._select not in record.validation:
            raise UsageError(
                f"suite '{self._suite.name}' tunes by {self._select} of validation classes, and "
                "its split has none."
            )
        return goodness(self._select, record.validation[self._select])
