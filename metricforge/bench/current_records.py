"""Which records a suite requires, as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from metricforge.bench.result_file import Record
from metricforge.bench.suite import Approach, Suite
from metricforge.bench.tuner import chosen, searched_by, space_of
from metricforge.registry import Registry
from metricforge.tuning import Dimension


def asked_for(suite: Suite, records: Sequence[Record]) -> list[Record]:
    """Those of the records that the suite requires, not of what it once was.

    Trials count whose options are among those to be searched, and runs that have what these
    trials have chosen; seeds beyond the suite's own are more of the same.
    """
    trials = _trials_of(suite, records)
    asked = {record.id for record in trials}
    tuned = chosen(suite, trials) if suite.tuning else None
    seeds = {record.seed for record in records if record.trial is None} | set(range(suite.seeds))
    for approach, fold, seed in product(suite.approaches, suite.each_fold, sorted(seeds)):
        options = {} if tuned is None else tuned.get((approach.name, fold))
        if options is not None:
            asked.add(suite.identity(suite.run_of(approach, seed, fold, options)))
    return [record for record in records if record.id in asked]


def _trials_of(suite: Suite, records: Sequence[Record]) -> list[Record]:
    """The trials among the records that are some of the suite's, as it is."""
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
        for space in [space_of(suite, approach, registry)]
        for record in tried[approach.name]
        if _is_of(suite, approach, space, record)
    ]


def _is_of(suite: Suite, approach: Approach, space: Sequence[Dimension], trial: Record) -> bool:
    """Whether a trial tries what the suite would, and nothing else is different."""
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
