"""The trials of searches: round by round, the same again, and which is the best."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from metricforge.errors import DivergedError, Interrupted, InUseError, UnfitError, UsageError
from metricforge.registry import Registry
from metricforge.tuning import Real, Searching
from metricforge.tuning.trials import attempted, best_first, rounds

SPACE = [Real("loss.margin", 0.0, 1.0)]
Asked = tuple[str, int, float]


def carried_out(count: int, records: dict[Asked, float], trained: list[Asked]) -> list[Asked]:
    """The trials of two searches that look for 0.3; those without a record are trained."""

    def trial_of(name: str, number: int, options: Mapping[str, str]) -> Asked:
        return name, number, float(options["loss.margin"])

    searches = {
        Searching(spec, 0, SPACE, Registry.installed()): lambda number, options, spec=spec: (
            trial_of(spec, number, options)
        )
        for spec in ("random", "tpe")
    }
    asked = []
    for trials in rounds(searches, count, records.__getitem__):
        asked += trials
        for trial in trials:
            if trial not in records:
                trained.append(trial)
                records[trial] = -abs(trial[2] - 0.3)
    return asked


def test_a_search_that_is_resumed_asks_for_the_same_and_trains_the_rest() -> None:
    """Beyond the first ten, which tpe chooses without the scores."""
    whole = carried_out(14, {}, [])
    assert [(name, number) for name, number, _ in whole[:4]] == [
        ("random", 1), ("tpe", 1), ("random", 2), ("tpe", 2),
    ]  # fmt: skip
    records: dict[Asked, float] = {}
    first: list[Asked] = []
    rest: list[Asked] = []
    assert carried_out(12, records, first) == whole[:24] == first
    assert carried_out(14, records, rest) == whole
    assert rest == whole[24:]


def test_a_search_is_told_the_scores() -> None:
    late = [margin for name, _, margin in carried_out(40, {}, []) if name == "tpe"][20:]
    assert sum(abs(margin - 0.3) < 0.1 for margin in late) >= 8


def test_the_best_comes_first_and_of_equals_the_earlier() -> None:
    scores = {"a": 0.5, "b": None, "c": 0.7, "d": 0.5, "e": 0.7}
    assert best_first(scores, scores.__getitem__) == ["c", "e", "a", "d"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UsageError("it does not fit."), ("refused", "it does not fit.")),
        (UnfitError("no groups."), ("refused", "no groups.")),
        (DivergedError("NaN."), ("failed", "NaN.")),
    ],
)
def test_an_error_is_an_outcome(error: Exception, outcome: tuple[str, str]) -> None:
    def work() -> None:
        raise error

    assert attempted(work) == (None, *outcome)


def test_an_error_that_nobody_expects_is_an_outcome_and_names_its_place() -> None:
    def work() -> None:
        raise KeyError("x")

    run, outcome, error = attempted(work)
    assert (run, outcome) == (None, "failed")
    assert error.startswith("KeyError: 'x' (test_trials.py:")


@pytest.mark.parametrize("stop", [Interrupted, InUseError])
def test_a_stop_is_no_outcome(stop: type[Exception]) -> None:
    def work() -> None:
        raise stop

    with pytest.raises(stop):
        attempted(work)
    assert attempted(lambda: 3) == (3, "done", "")
