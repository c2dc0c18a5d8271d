"""Trials: as many for each, judged by validation classes, and what is asked for after a change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import pytest

from metricforge.bench import Record, Suite, required_records, tabulate
from metricforge.bench.suite import Approach, Planned, Tuned, Tuning
from metricforge.bench.trials import chosen, trials_of
from metricforge.contracts import Estimate
from metricforge.errors import UsageError

SEEN = Estimate(0.5, 0.4, 0.6, 10, "classes")

SUITE = Suite(
    name="s",
    title="S",
    base={"dataset": "digits", "loss": "triplet"},
    approaches=(
        Approach("a", {"sampler": "hard-triplet"}, ("loss.margin=0.1..0.9",)),
        Approach("b", {"sampler": "random-triplets"}, ("loss.margin=0.1..0.9",)),
    ),
    tuning=Tuning(5, ("dim=8,16",), "random"),
)


def record_of(suite: Suite, planned: Planned, outcome: str = "done", **validation: float) -> Record:
    return Record(
        id=suite.identity(planned), suite=suite.name, approach=planned.approach, seed=planned.seed,
        fold=planned.fold, outcome=outcome, trial=planned.trial, tuned=planned.tuned,
        search=planned.search, recipe={"dataset": "digits"}, validation=validation,
        environment={"device_name": "x"}, seconds=1.0,
        results={} if planned.trial else {"trained": {"map@r": asdict(SEEN)}},
    )  # fmt: skip


def margin(planned: Planned) -> float:
    return float(planned.tuned["loss.margin"])


def carried_out(suite: Suite, of: Callable[[Planned], Record]) -> tuple[Tuned, list[Record]]:
    """The options that all trials have chosen; the trials, and the runs that follow from them."""
    records: dict[_Key, Record] = {}
    for trials in trials_of(suite, None, lambda planned: records.get(_Key(planned))):
        records.update({planned: of(planned) for planned in map(_Key, trials)})
    tuned = chosen(suite, records.values())
    runs = [record_of(suite, planned) for planned in suite.plan(tuned)]
    return tuned, [*records.values(), *runs]


def first_round(suite: Suite, search: str | None = None) -> list[Planned]:
    """The trials that come first."""
    return next(trials_of(suite, search, lambda planned: None))


class _Key(Planned):
    """A run that is known by its options."""

    def __init__(self, planned: Planned) -> None:
        super().__init__(**vars(planned))

    def __hash__(self) -> int:
        return hash(SUITE.identity(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Planned) and SUITE.identity(self) == SUITE.identity(other)


def near_half(planned: Planned) -> Record:
    """The nearer the margin is to 0.5, the better."""
    return record_of(SUITE, planned, **{"map@r": 1 - abs(margin(planned) - 0.5)})


def test_the_best_of_as_many_trials_is_chosen_for_each() -> None:
    tuned, records = carried_out(SUITE, near_half)
    trials = [one for one in records if one.trial is not None]
    assert SUITE.trials == len(trials) == 10
    for approach in SUITE.approaches:
        own = [one for one in trials if one.approach == approach.name]
        assert [one.trial for one in own] == [1, 2, 3, 4, 5]
        assert len({one.tuned["loss.margin"] for one in own}) == 5
        best = min(own, key=lambda one: abs(float(one.tuned["loss.margin"]) - 0.5))
        assert tuned[approach.name, None] == best.tuned
    assert required_records(SUITE, records) == records


def test_by_an_error_the_least_is_the_best() -> None:
    suite = replace(SUITE, base={**SUITE.base, "select": "eer", "validation": "verification"})
    tuned, records = carried_out(suite, lambda one: record_of(suite, one, eer=margin(one)))
    least = min(float(one.tuned["loss.margin"]) for one in records if one.approach == "a")
    assert float(tuned["a", None]["loss.margin"]) == least


def test_each_fold_is_tuned_by_itself() -> None:
    suite = replace(SUITE, folds=3)
    tuned, records = carried_out(
        suite, lambda one: record_of(suite, one, **{"map@r": margin(one) * (one.fold or -1)})
    )
    assert suite.trials == 5 * 2 * 3
    margins = [float(tuned["a", fold]["loss.margin"]) for fold in range(3)]
    assert margins[0] < margins[1] == margins[2]
    splits = {(one.fold, suite_split(suite, one)) for one in records}
    assert splits == {(fold, f"folds:k=3,fold={fold}") for fold in range(3)}


def suite_split(suite: Suite, record: Record) -> str:
    approach = next(one for one in suite.approaches if one.name == record.approach)
    return str(suite.run_of(approach, 0, record.fold, {}).options["split"])


def test_runs_of_what_trials_no_longer_choose_are_not_asked_for() -> None:
    _, records = carried_out(SUITE, near_half)
    runs = [one for one in records if one.trial is None]
    fewer = replace(SUITE, tuning=Tuning(1, ("dim=8,16",), "random"))
    left = required_records(fewer, records)
    assert [one.trial for one in left if one.trial is not None] == [1, 1]
    first = {one.approach: one.tuned for one in left if one.trial == 1}
    assert [one for one in runs if one in left] == [
        one for one in runs if one.tuned == first[one.approach]
    ]
    untuned = replace(
        SUITE, tuning=None, approaches=tuple(replace(one, tune=()) for one in SUITE.approaches)
    )
    assert required_records(untuned, records) == []
    renamed = replace(SUITE, approaches=(replace(SUITE.approaches[0], name="c"),))
    assert required_records(renamed, records) == []
    assert required_records(replace(SUITE, name="t"), records) == []


def test_more_seeds_than_the_suite_has_are_asked_for() -> None:
    suite = replace(SUITE, tuning=None, seeds=2)
    many = [record_of(suite, one) for one in replace(suite, seeds=4).plan()]
    assert required_records(suite, many) == many


def test_what_no_trial_could_train_is_a_row_that_says_so() -> None:
    def of(planned: Planned) -> Record:
        if planned.approach == "a":
            return near_half(planned)
        return replace(record_of(SUITE, planned, "failed"), error="it diverged.", validation={})

    tuned, records = carried_out(SUITE, of)
    assert set(tuned) == {("a", None)}
    assert {one.approach for one in records if one.trial is None} == {"a"}
    (table,) = tabulate(SUITE, required_records(SUITE, records))
    rows = {row.name: row for row in table.rows}
    assert rows["b"].reason == "no trial could be trained, failed: it diverged."
    assert any("5 trials of each (random)" in note for note in table.notes)


def test_trials_that_could_not_be_trained_are_counted() -> None:
    def of(planned: Planned) -> Record:
        if planned.approach == "a" or planned.trial in (2, 4, 5):
            return near_half(planned)
        return replace(record_of(SUITE, planned, "failed"), error="it diverged.", validation={})

    _, records = carried_out(SUITE, of)
    (table,) = tabulate(SUITE, required_records(SUITE, records))
    notes = [note for note in table.notes if "could not be trained" in note]
    assert notes == ["b: 2 of its trials could not be trained; the first was failed: it diverged."]


def test_trials_are_known_again_where_who_chose_them_is_not_installed() -> None:
    _, records = carried_out(SUITE, near_half)
    elsewhere = [replace(one, search="gone") if one.trial else one for one in records]
    whoever = replace(SUITE, tuning=replace(SUITE.tuning, search=None))
    assert required_records(whoever, elsewhere) == elsewhere
    # A suite that names another is not served by them.
    assert required_records(SUITE, elsewhere) == []
    with pytest.raises(UsageError, match="unknown search 'gone'"):
        first_round(whoever, "gone")


def test_trials_outside_of_what_is_searched_by_now_are_not_asked_for() -> None:
    _, records = carried_out(SUITE, near_half)
    smaller = replace(SUITE, tuning=replace(SUITE.tuning, options=("dim=8",)))
    asked = [one for one in required_records(smaller, records) if one.trial]
    assert 0 < len(asked) < 10
    assert {one.tuned["dim"] for one in asked} == {"8"}
    narrow = tuple(replace(one, tune=("loss.margin=0.3..0.7",)) for one in SUITE.approaches)
    asked = [
        one for one in required_records(replace(SUITE, approaches=narrow), records) if one.trial
    ]
    trials = [one for one in records if one.trial]
    assert asked == [one for one in trials if 0.3 <= float(one.tuned["loss.margin"]) <= 0.7]
    assert 0 < len(asked) < len(trials)


def test_trials_are_by_a_seed_that_no_run_has() -> None:
    trials = first_round(SUITE)
    runs = replace(SUITE, seeds=1000).plan(tuned={("a", None): {}, ("b", None): {}})
    assert len(trials) == 2
    assert not {one.options["seed"] for one in trials} & {one.options["seed"] for one in runs}


def test_each_approach_is_offered_what_any_other_is() -> None:
    first, second = first_round(SUITE)
    assert first.tuned == second.tuned


def test_of_trials_that_are_as_good_the_first_is_chosen() -> None:
    tuned, records = carried_out(SUITE, lambda one: record_of(SUITE, one, **{"map@r": 0.5}))
    first = {one.approach: one.tuned for one in records if one.trial == 1}
    assert tuned == {(name, None): options for name, options in first.items()}
    assert required_records(SUITE, records) == records
    # Processes side by side end in any order.
    assert required_records(SUITE, records[::-1]) == records[::-1]


def test_options_that_a_search_does_not_have_are_refused() -> None:
    wrong = replace(SUITE, tuning=replace(SUITE.tuning, search="random:sed=7"))
    with pytest.raises(UsageError, match="sed"):
        first_round(wrong)


def test_without_validation_classes_nothing_can_be_tuned() -> None:
    with pytest.raises(UsageError, match="tunes by map@r of validation classes, and its split has"):
        carried_out(SUITE, lambda one: record_of(SUITE, one))
