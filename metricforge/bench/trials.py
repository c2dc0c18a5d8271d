"""The trials of a suite, the options they choose, and the records that the suite requires."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product

from metricforge.bench.result_file import Record
from metricforge.bench.suite import Approach, Planned, Suite, Tuned
from metricforge.errors import UsageError
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.tuning import Dimension, Searching, goodness, read_options, usual_search
from metricforge.tuning.trials import DONE, best_first, rounds


def trials_of(
    suite: Suite, search: str | None, record_of: Callable[[Planned], Record | None]
) -> Iterator[list[Planned]]:
    """The trials of each round, one of every approach; they are trained before the next round.

    With folds each approach is tuned on each of them, so that no tested class chooses any option.
    `search` is that of the suite's earlier trials, which are resumed with the same search, whatever
    is installed by now. `record_of` returns the record of a trial, if any.
    """
    if suite.tuning is None:
        return
    registry = Registry.installed()
    name = suite.tuning.search or search or usual_search(registry)
    # The seed is the same for each approach, which has the same choices as it would have alone.
    searches = {
        Searching(name, 0, _space_of(suite, approach, registry), registry): partial(
            suite.trial_of, approach, fold, name
        )
        for approach, fold in product(suite.approaches, suite.each_fold)
    }
    yield from rounds(
        searches, suite.tuning.trials, lambda trial: _score_of(suite, record_of(trial))
    )


def chosen(suite: Suite, trials: Iterable[Record]) -> Tuned:
    """The options of the best trial of each approach on each fold, if any could be trained.

    Of equals it is the lowest number: processes side by side end in any order.
    """
    best: dict[tuple[str, int | None], Mapping[str, str]] = {}
    in_order = sorted(trials, key=lambda trial: trial.trial or 0)
    for trial in best_first(in_order, partial(_score_of, suite)):
        best.setdefault((trial.approach, trial.fold), trial.tuned)
    return best


def required_records(suite: Suite, records: Sequence[Record]) -> list[Record]:
    """The records that the suite requires, without those of an earlier version of it.

    These are trials within the search space, and runs with the options that these trials have
    chosen; seeds beyond the suite's own count, too.
    """
    trials = _trials_of(suite, records)
    ids = {record.id for record in trials}
    tuned = chosen(suite, trials) if suite.tuning else None
    seeds = {record.seed for record in records if record.trial is None} | set(range(suite.seeds))
    for approach, fold, seed in product(suite.approaches, suite.each_fold, sorted(seeds)):
        options = {} if tuned is None else tuned.get((approach.name, fold))
        if options is not None:
            ids.add(suite.identity(suite.run_of(approach, seed, fold, options)))
    return [record for record in records if record.id in ids]


def _trials_of(suite: Suite, records: Sequence[Record]) -> list[Record]:
    """The trials among the records that belong to the suite as it is now."""
    if suite.tuning is None:
        return []
    search = suite.tuning.search or searched_by(records)
    tried: dict[str, list[Record]] = {}
    for record in records:
        if record.trial is not None and record.search == search:
            tried.setdefault(record.approach, []).append(record)
    registry = Registry.installed()
    return [
        record
        for approach in suite.approaches
        if approach.name in tried
        for space in [_space_of(suite, approach, registry)]
        for record in tried[approach.name]
        if _is_of(suite, approach, space, record)
    ]


def _is_of(suite: Suite, approach: Approach, space: Sequence[Dimension], trial: Record) -> bool:
    """Whether the suite, as it is now, would make the same trial."""
    assert suite.tuning is not None
    assert trial.trial is not None
    if trial.trial > suite.tuning.trials or trial.fold not in suite.each_fold:
        return False
    if list(trial.tuned) != [dimension.key for dimension in space]:
        return False
    if not all(dimension.holds(trial.tuned[dimension.key]) for dimension in space):
        return False
    again = suite.trial_of(approach, trial.fold, trial.search, trial.trial, trial.tuned)
    return suite.identity(again) == trial.id


def searched_by(records: Sequence[Record]) -> str | None:
    """The search that has chosen the trials among the records."""
    return next((record.search for record in records if record.trial is not None), None)


def _space_of(suite: Suite, approach: Approach, registry: Registry) -> tuple[Dimension, ...]:
    """The search space of an approach."""
    return read_options(suite.options_to_tune(approach), _recipe(suite, approach), registry)


def _score_of(suite: Suite, trial: Record | None) -> float | None:
    """The score of a trial by its recipe's `select`, higher is better; None if not done."""
    if trial is None or trial.outcome != DONE:
        return None
    approach = next(candidate for candidate in suite.approaches if candidate.name == trial.approach)
    select = _recipe(suite, approach).select
    if select not in trial.validation:
        raise UsageError(
            f"suite '{suite.name}' tunes by {select} of validation classes, and its split has none."
        )
    return goodness(select, trial.validation[select])


def _recipe(suite: Suite, approach: Approach) -> Recipe:
    return Recipe.from_values({**suite.base, **approach.options}, suite.name)
