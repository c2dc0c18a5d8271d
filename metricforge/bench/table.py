"""The table of a suite: means over seeds, with intervals, and differences in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from metricforge.bench.records import DONE, Record
from metricforge.bench.suite import Suite
from metricforge.contracts import Estimate
from metricforge.evaluation import over_differences, over_seeds
from metricforge.runs.measure import PIXELS, TRAINED, UNTRAINED

BASELINES = {UNTRAINED: "untrained network", PIXELS: "pixels"}
# What decides what a network is before it is trained.
NETWORK = ("dataset", "backbone", "head", "dim")


@dataclass(frozen=True)
class Row:
    """An approach: its numbers by name, and by how much they differ from the baseline's.

    Means over seeds, of folds where there are any, with 95 % intervals over seeds; a single seed
    has an interval of all there is. Differences are in pairs, of the same seeds. `seconds` are the
    median of a training's. What could not be trained has none, and a `reason`.
    """

    name: str
    n: int = 0
    numbers: Mapping[str, Estimate] = field(default_factory=dict)
    differences: Mapping[str, Estimate] = field(default_factory=dict)
    seconds: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """The rows of a suite that are tested on the same images, and what to know of them."""

    title: str
    numbers: tuple[str, ...]
    rows: tuple[Row, ...]
    baseline: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def tabulate(suite: Suite, records: Sequence[Record]) -> list[Table]:
    """A table for each dataset and split of the records of a suite."""
    wanted = [one for one in records if one.suite == suite.name and one.trial is None]
    tables: dict[tuple[str, str], list[Record]] = {}
    for record in wanted:
        if record.outcome == DONE:
            tables.setdefault(_tested_on(record), []).append(record)
    failed = [one for one in wanted if one.outcome != DONE]
    return [
        _table(suite, dataset, group, failed if number == 0 else [])
        for number, ((dataset, _), group) in enumerate(tables.items())
    ] or [_table(suite, "", [], failed)]


def _tested_on(record: Record) -> tuple[str, str]:
    """The dataset, and the split where each fold has not one of its own."""
    dataset = str(record.recipe["dataset"])
    return dataset, record.split_hash if record.fold is None else ""


def _table(suite: Suite, dataset: str, done: list[Record], failed: list[Record]) -> Table:
    order = [approach.name for approach in suite.approaches]
    by_approach: dict[str, list[Record]] = {}
    for record in sorted(
        done, key=lambda one: order.index(one.approach) if one.approach in order else len(order)
    ):
        by_approach.setdefault(record.approach, []).append(record)
    values = {name: _by_seed(group, TRAINED) for name, group in by_approach.items()}
    baseline = suite.baseline_among(list(values)) or suite.baseline
    base = values.get(baseline, {})
    rows = [
        Row(
            name=name,
            n=len(values[name]),
            numbers=_means(values[name]),
            differences={} if name == baseline else _apart(base, values[name]),
            seconds=round(statistics.median(one.seconds for one in group), 1),
        )
        for name, group in by_approach.items()
    ]
    rows += _baselines(by_approach)
    rows += [Row(name=name, reason=reason) for name, reason in _reasons(failed).items()]
    numbers = suite.numbers or tuple(dict.fromkeys(n for row in rows for n in row.numbers))
    return Table(
        title=f"{suite.title}: {dataset}" if dataset else suite.title,
        numbers=numbers,
        rows=tuple(rows),
        baseline=baseline,
        notes=tuple(_notes(done)),
    )


def _by_seed(records: Iterable[Record], subject: str) -> dict[int, dict[str, float]]:
    """The numbers of each seed, means of its folds."""
    found: dict[int, dict[str, list[float]]] = {}
    for record in records:
        for name, estimate in record.results.get(subject, {}).items():
            found.setdefault(record.seed, {}).setdefault(name, []).append(estimate["value"])
    return {
        seed: {name: statistics.fmean(values) for name, values in numbers.items()}
        for seed, numbers in found.items()
    }


def _means(values: Mapping[int, Mapping[str, float]]) -> dict[str, Estimate]:
    names = dict.fromkeys(name for numbers in values.values() for name in numbers)
    return {
        name: over_seeds(
            np.array([numbers[name] for numbers in values.values() if name in numbers])
        )
        for name in names
    }


def _apart(
    base: Mapping[int, Mapping[str, float]], values: Mapping[int, Mapping[str, float]]
) -> dict[str, Estimate]:
    """The differences of the seeds that both have."""
    seeds = [seed for seed in values if seed in base]
    if not seeds:
        return {}
    names = [name for name in values[seeds[0]] if name in base[seeds[0]]]
    return {
        name: over_differences(
            np.array([base[seed][name] for seed in seeds]),
            np.array([values[seed][name] for seed in seeds]),
            None,
            over="seeds",
        )
        for name in names
    }


def _baselines(by_approach: Mapping[str, list[Record]]) -> list[Row]:
    """The rows of each untrained network that was begun with, and of raw pixels."""
    networks: dict[tuple[str, ...], list[Record]] = {}
    for group in by_approach.values():
        key = tuple(str(group[0].recipe.get(option)) for option in NETWORK)
        # Of approaches that share a network one will do: its beginnings are the same.
        networks.setdefault(key, group)
    differ = [place for place in range(len(NETWORK)) if len({key[place] for key in networks}) > 1]
    rows = []
    for key, group in networks.items():
        values = _by_seed(group, UNTRAINED)
        which = ", ".join(f"{NETWORK[place]} {key[place]}" for place in differ)
        if values:
            name = BASELINES[UNTRAINED] + (f" ({which})" if which else "")
            rows.append(Row(name, len(values), _means(values)))
    flat = _by_seed(next(iter(by_approach.values()), []), PIXELS)
    if flat:
        # They are the same for every seed: no interval over seeds speaks of them.
        rows.append(Row(BASELINES[PIXELS], 1, _means(dict(list(flat.items())[:1]))))
    return rows


def _reasons(failed: Iterable[Record]) -> dict[str, str]:
    """Why there is no row of an approach: what the first of its runs ended with."""
    reasons: dict[str, str] = {}
    for record in failed:
        reasons.setdefault(record.approach, f"{record.outcome}: {record.error}")
    return reasons


def _notes(done: Sequence[Record]) -> list[str]:
    if not done:
        return ["nothing is done yet."]
    first = done[0]
    kind = "closed set" if first.closed_set else "held-out classes"
    machines = sorted({_machine(one.environment) for one in done})
    versions = first.environment.get("versions", {})
    named = ", ".join(
        f"{name} {versions[name]}" for name in ("metricforge", "torch") if name in versions
    )
    told = [_of_trials(done)] if any(record.tuned for record in done) else []
    return [
        *told,
        f"{kind}; mean over seeds [95 % interval over seeds]; differences to the baseline in pairs "
        "of seeds.",
        f"{'; '.join(machines)}; {named}.",
    ]


def _of_trials(done: Sequence[Record]) -> str:
    """What trials have chosen for each approach."""
    chosen = {
        record.approach: " ".join(f"{key}={value}" for key, value in record.tuned.items())
        for record in done
    }
    listed = "; ".join(f"{name}: {options}" for name, options in chosen.items())
    return f"options that trials chose on validation classes, as many for each: {listed}."


def _machine(environment: Mapping[str, Any]) -> str:
    threads = environment.get("threads", 1)
    on = "" if environment.get("device", "cpu") != "cpu" else f", {threads} threads a run"
    return f"{environment.get('device_name')}{on}"
