"""What is said below a table: how its numbers came about, and what is missing from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from metricforge.bench.result_file import Record
from metricforge.bench.suite import Suite
from metricforge.contracts import Estimate
from metricforge.runs.environment import Environment
from metricforge.scoring.baselines import TRAINED
from metricforge.tuning.trials import DONE


def notes(
    suite: Suite,
    what: str,
    by_approach: Mapping[str, list[Record]],
    values: Mapping[str, Mapping[int, Mapping[str, float]]],
    records: Sequence[Record],
    baselines: Sequence[str],
    there: Sequence[str],
) -> Iterator[str]:
    """The lines below a table.

    `what` is what its numbers are, see :func:`what_numbers_are`. `by_approach` are the runs that
    are done and `values` their numbers by seed; `records` are all of the suite, trials and failures
    too. `there` are the numbers that the table could show.
    """
    done = [record for group in by_approach.values() for record in group]
    if not done:
        yield "nothing is done yet."
    else:
        yield _how(what, baselines)
        yield _on_what(done)
        yield from _to_come(suite, records)
    yield from _of_one_run(suite, done)
    yield from _tuned(suite, done, records)
    yield from _incomplete(by_approach, values, len(suite.each_fold))
    yield from _lost(by_approach, records)
    yield from not_there(suite.numbers, there)


def not_there(numbers: Sequence[str], there: Sequence[str]) -> Iterator[str]:
    """Of the numbers that a suite wants, those that nothing measures."""
    if there and (unknown := [name for name in numbers if name not in there]):
        yield f"no protocol measures {', '.join(unknown)}; there are {', '.join(there)}."


def what_numbers_are(done: Sequence[Record], folds: int) -> str:
    """Of which classes the numbers of these runs are, and of what they are the means."""
    kind = "closed set" if any(record.closed_set for record in done) else "held-out classes"
    of = f", each the mean of {folds} folds" if folds > 1 else ""
    return f"{kind}; mean over seeds{of} [95 % interval over seeds]"


def _how(what: str, baselines: Sequence[str]) -> str:
    names = " or ".join(f"'{name}'" for name in baselines)
    alike = " of the same further choices" if len(baselines) > 1 else ""
    compared = f"; (differences to {names}{alike} in pairs of seeds)" if names else ""
    return f"{what}{compared}; median of the seconds of training."


def _on_what(done: Sequence[Record]) -> str:
    machines = sorted({_machine(one.environment) for one in done})
    versions = sorted({_versions(one.environment) for one in done})
    return f"{'; '.join(machines)}; {'; '.join(versions)}."


def _of_one_run(suite: Suite, done: Sequence[Record]) -> Iterator[str]:
    """How sure a number is of one training alone, whose test is a sample, too."""
    for record in sorted(done, key=lambda one: one.seed)[:1]:
        fold = "" if record.fold is None else f", fold {record.fold}"
        numbers = record.results.get(TRAINED, {})
        for name in [name for name in suite.numbers or numbers if name in numbers][:1]:
            one = Estimate(**numbers[name])
            yield (
                f"one training alone ({record.approach}, seed {record.seed}{fold}): {name} "
                f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}] over {one.n:,} {one.over}."
            )


def _tuned(suite: Suite, done: Sequence[Record], records: Sequence[Record]) -> Iterator[str]:
    """What trials have chosen for each approach."""
    if suite.tuning is None or not done:
        return
    chosen: dict[str, list[str]] = {}
    for record in done:
        told = " ".join(f"{key}={value}" for key, value in record.tuned.items())
        if told not in chosen.setdefault(record.approach, []):
            chosen[record.approach].append(told)
    searches = sorted({one.search for one in records if one.trial is not None and one.search})
    listed = "; ".join(f"{name}: {', '.join(each)}" for name, each in chosen.items())
    yield (
        f"options chosen by {suite.tuning.trials} trials of each ({', '.join(searches)}), on "
        f"validation classes: {listed}."
    )
    for name in chosen:
        lost = [r for r in records if r.approach == name and r.trial and r.outcome != DONE]
        if lost:
            yield (
                f"{name}: {len(lost)} of its trials could not be trained; the first was "
                f"{lost[0].outcome}: {lost[0].error}"
            )


def _to_come(suite: Suite, records: Sequence[Record]) -> Iterator[str]:
    """How much of the suite has not been run."""
    there = {(one.approach, one.seed, one.fold) for one in records if one.trial is None}
    # Nothing comes of an approach of which no trial could be trained.
    hopeless = {one.approach for one in records} - {
        one.approach for one in records if one.trial is None or one.outcome == DONE
    }
    planned = [
        (one.approach, one.seed, one.fold) for one in suite.plan() if one.approach not in hopeless
    ]
    if left := sum(one not in there for one in planned):
        yield f"{left:,} of the suite's {len(planned):,} runs are missing."


def _incomplete(
    by_approach: Mapping[str, list[Record]],
    values: Mapping[str, Mapping[int, Mapping[str, float]]],
    folds: int,
) -> Iterator[str]:
    """Which seeds are no part of the means, since not all their folds are there."""
    for name, group in by_approach.items():
        seeds = sorted({one.seed for one in group} - set(values[name]))
        if seeds:
            yield f"{name}: seed {', '.join(map(str, seeds))} has not all of {folds} folds yet."


def _lost(by_approach: Mapping[str, list[Record]], records: Sequence[Record]) -> Iterator[str]:
    """Which runs of an approach that has a row are not in it, and why."""
    for record in records:
        if record.outcome != DONE and record.trial is None and record.approach in by_approach:
            fold = "" if record.fold is None else f", fold {record.fold}"
            which = f"{record.approach}, seed {record.seed}{fold}"
            yield f"{which}: {record.outcome}: {record.error}"


def _versions(environment: Environment) -> str:
    versions = environment.get("versions", {})
    return ", ".join(
        f"{name} {versions[name]}" for name in ("metricforge", "torch") if name in versions
    )


def _machine(environment: Environment) -> str:
    threads = environment.get("threads", 1)
    on = "" if environment.get("device", "cpu") != "cpu" else f", {threads} threads a run"
    return f"{environment.get('device_name')}{on}"
