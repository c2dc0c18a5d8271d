"""The notes below a table: how its numbers were measured, and what is missing."""

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
    measured: Sequence[str],
) -> Iterator[str]:
    """The lines below a table.

    `what` describes its numbers, see :func:`what_numbers_are`. `by_approach` are the finished runs
    and `values` their metrics by seed; `records` are all of the suite, including trials and
    failures. `measured` are the metrics that the table could show.
    """
    done = [record for group in by_approach.values() for record in group]
    if not done:
        yield "nothing is done yet."
    else:
        yield _how(what, baselines)
        yield _on_what(done)
        yield from _to_come(suite, records)
    yield from _single_run(suite, done)
    yield from _tuned(suite, done, records)
    yield from _incomplete(by_approach, values, len(suite.each_fold))
    yield from _lost(by_approach, records)
    yield from unmeasured(suite.numbers, measured)


def unmeasured(numbers: Sequence[str], measured: Sequence[str]) -> Iterator[str]:
    """A note on the metrics of a suite that no protocol measures."""
    if measured and (unknown := [name for name in numbers if name not in measured]):
        yield f"no protocol measures {', '.join(unknown)}; there are {', '.join(measured)}."


def what_numbers_are(done: Sequence[Record], folds: int) -> str:
    """The kind of classes that these runs were tested on, and what the means are over."""
    kind = "closed set" if any(record.closed_set for record in done) else "held-out classes"
    of = f", each the mean of {folds} folds" if folds > 1 else ""
    return f"{kind}; mean over seeds{of} [95 % interval over seeds]"


def _how(what: str, baselines: Sequence[str]) -> str:
    names = " or ".join(f"'{name}'" for name in baselines)
    alike = " of the same further choices" if len(baselines) > 1 else ""
    compared = f"; (differences to {names}{alike} in pairs of seeds)" if names else ""
    return f"{what}{compared}; median of the seconds of training."


def _on_what(done: Sequence[Record]) -> str:
    machines = sorted({_machine(record.environment) for record in done})
    versions = sorted({_versions(record.environment) for record in done})
    return f"{'; '.join(machines)}; {'; '.join(versions)}."


def _single_run(suite: Suite, done: Sequence[Record]) -> Iterator[str]:
    """The interval of a single training, whose test images are a sample, too."""
    for record in sorted(done, key=lambda record: record.seed)[:1]:
        fold = "" if record.fold is None else f", fold {record.fold}"
        numbers = record.results.get(TRAINED, {})
        for name in [name for name in suite.numbers or numbers if name in numbers][:1]:
            estimate = Estimate(**numbers[name])
            yield (
                f"one training alone ({record.approach}, seed {record.seed}{fold}): {name} "
                f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}] "
                f"over {estimate.n:,} {estimate.over}."
            )


def _tuned(suite: Suite, done: Sequence[Record], records: Sequence[Record]) -> Iterator[str]:
    """The options that trials have chosen for each approach."""
    if suite.tuning is None or not done:
        return
    chosen: dict[str, list[str]] = {}
    for record in done:
        options = " ".join(f"{key}={value}" for key, value in record.tuned.items())
        if options not in chosen.setdefault(record.approach, []):
            chosen[record.approach].append(options)
    searches = sorted(
        {record.search for record in records if record.trial is not None and record.search}
    )
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
    """How many of the suite's runs are missing."""
    recorded = {
        (record.approach, record.seed, record.fold) for record in records if record.trial is None
    }
    # An approach without a finished trial never has runs.
    hopeless = {record.approach for record in records} - {
        record.approach for record in records if record.trial is None or record.outcome == DONE
    }
    planned = [
        (run.approach, run.seed, run.fold) for run in suite.plan() if run.approach not in hopeless
    ]
    if missing := sum(key not in recorded for key in planned):
        yield f"{missing:,} of the suite's {len(planned):,} runs are missing."


def _incomplete(
    by_approach: Mapping[str, list[Record]],
    values: Mapping[str, Mapping[int, Mapping[str, float]]],
    folds: int,
) -> Iterator[str]:
    """The seeds that the means exclude because some of their folds are missing."""
    for name, group in by_approach.items():
        seeds = sorted({record.seed for record in group} - set(values[name]))
        if seeds:
            yield f"{name}: seed {', '.join(map(str, seeds))} has not all of {folds} folds yet."


def _lost(by_approach: Mapping[str, list[Record]], records: Sequence[Record]) -> Iterator[str]:
    """The runs that are missing from an approach's row, and why."""
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
