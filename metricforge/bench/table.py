"""The table of a suite: means over seeds, with intervals, and differences in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from metricforge.bench.result_file import Record
from metricforge.bench.suite import Suite
from metricforge.bench.table_notes import notes, what_numbers_are
from metricforge.contracts import Estimate
from metricforge.evaluation import over_differences, over_seeds
from metricforge.scoring.baselines import (
    BEFORE_TRAINING,
    CUSTOM,
    PIXELS,
    PRETRAINED,
    TRAINED,
    UNTRAINED,
)
from metricforge.tuning.trials import DONE

BASELINES = {
    UNTRAINED: "untrained network",
    PRETRAINED: "pretrained features, no head",
    CUSTOM: "features as given, no head",
    PIXELS: "pixels",
}
LEAST = {"ami": -1.0}
"""The lowest value of numbers that may be below zero."""

# What decides what a network is before it is trained.
NETWORK = ("backbone", "head", "dim")


@dataclass(frozen=True)
class Row:
    """An approach: its numbers by name, and by how much they differ from those of `baseline`.

    Means over seeds, of folds where there are any, with 95 % intervals over seeds; a single seed
    has an interval of all there is. Differences are in pairs, of the same seeds; `baseline` is ""
    where there is none to be compared with. `seconds` are the median of a training's. What could
    not be trained has none, and a `reason`.
    """

    name: str
    n: int = 0
    numbers: Mapping[str, Estimate] = field(default_factory=dict)
    differences: Mapping[str, Estimate] = field(default_factory=dict)
    baseline: str = ""
    seconds: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """The rows of a suite that are tested on the same images, and what to know of them.

    `what` says of which classes the numbers are, and of what they are the means. In a grid all
    columns are of one `number`.
    """

    title: str
    numbers: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    what: str = ""
    number: str = ""

    def to_json(self) -> dict[str, Any]:
        """The table for another program, without intervals where there is but one seed."""
        rows = [
            asdict(row)
            | {
                "numbers": {name: told(one) for name, one in row.numbers.items()},
                "differences": {name: told(one) for name, one in row.differences.items()},
            }
            for row in self.rows
        ]
        return asdict(self) | {"rows": rows}


def told(found: Estimate) -> dict[str, Any]:
    """An estimate over seeds for another program; one seed says nothing of others."""
    return asdict(found) | ({"low": None, "high": None} if found.n == 1 else {})


def tabulate(suite: Suite, records: Sequence[Record]) -> list[Table]:
    """A table for each dataset and split of the records of a suite."""
    wanted = [one for one in records if one.suite == suite.name]
    tables: dict[tuple[str, str], list[Record]] = {}
    for record in wanted:
        if record.outcome == DONE and record.trial is None:
            tables.setdefault(_tested_on(record), []).append(record)
    missing = _reasons(wanted)
    groups = list(tables.values())
    datasets = [str(group[0].recipe["dataset"]) for group in groups]
    titles = [
        f"{suite.title}: {dataset}"
        + (f", split {group[0].recipe.get('split')}" if datasets.count(dataset) > 1 else "")
        for dataset, group in zip(datasets, groups, strict=True)
    ]
    return [
        _table(suite, title, group, {name: missing[name] for name in names}, wanted)
        for title, group, names in zip(
            titles, groups, _by_table(suite, groups, missing), strict=True
        )
    ] or [_table(suite, suite.title, [], missing, wanted)]


def _by_table(
    suite: Suite, groups: Sequence[Sequence[Record]], names: Iterable[str]
) -> list[list[str]]:
    """Which of these approaches, of which nothing is done, belong beside each group of records.

    With those that ask for the same dataset and split; beside the first where nobody does.
    """
    asked = {one.name: suite.asks_for(one) for one in suite.approaches}
    found: list[list[str]] = [[] for _ in groups]
    for name in names if groups else ():
        alike = (
            any(asked.get(one.approach) == asked.get(name) for one in group) for group in groups
        )
        found[next((place for place, here in enumerate(alike) if here), 0)].append(name)
    return found


def _tested_on(record: Record) -> tuple[str, str]:
    """The dataset, and the split where each fold has not one of its own."""
    dataset = str(record.recipe["dataset"])
    return dataset, record.split_hash if record.fold is None else ""


def _table(
    suite: Suite, title: str, done: list[Record], missing: Mapping[str, str], records: list[Record]
) -> Table:
    order = [approach.name for approach in suite.approaches]
    by_approach: dict[str, list[Record]] = {}
    for record in sorted(
        done, key=lambda one: order.index(one.approach) if one.approach in order else len(order)
    ):
        by_approach.setdefault(record.approach, []).append(record)
    folds = len(suite.each_fold)
    values = {name: by_seed(group, TRAINED, folds) for name, group in by_approach.items()}
    rows = []
    for name, group in by_approach.items():
        base = suite.baseline_of(name, list(values))
        row = Row(
            name=name,
            n=len(values[name]),
            numbers=_means(values[name]),
            differences={} if base == name else _apart(values.get(base, {}), values[name]),
            baseline="" if base == name else base,
            seconds=round(statistics.median(one.seconds for one in group), 1),
        )
        rows.append(row)
    baselines = dict.fromkeys(row.baseline for row in rows if row.baseline)
    rows += _baselines(by_approach, folds)
    rows += [Row(name=name, reason=reason) for name, reason in missing.items()]
    there = tuple(dict.fromkeys(n for row in rows for n in row.numbers))
    what = what_numbers_are(done, folds)
    return Table(
        title=title,
        numbers=suite.numbers or there,
        rows=tuple(rows),
        notes=tuple(notes(suite, what, by_approach, values, records, list(baselines), there)),
        what=what,
    )


def by_seed(records: Iterable[Record], subject: str, folds: int) -> dict[int, dict[str, float]]:
    """The numbers of each seed that has all its folds: means over them, of what they all have."""
    found: dict[int, list[dict[str, float]]] = {}
    for record in records:
        numbers = record.results.get(subject, {})
        found.setdefault(record.seed, []).append(
            {name: estimate["value"] for name, estimate in numbers.items()}
        )
    return {
        seed: {
            name: statistics.fmean(numbers[name] for numbers in each)
            for name in each[0]
            if all(name in numbers for numbers in each)
        }
        for seed, each in found.items()
        if len(each) == folds and each[0]
    }


def _means(values: Mapping[int, Mapping[str, float]]) -> dict[str, Estimate]:
    names = dict.fromkeys(name for numbers in values.values() for name in numbers)
    return {
        name: over_seeds(
            np.array([numbers[name] for numbers in values.values() if name in numbers]),
            least=LEAST.get(name, 0.0),
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
    names = [
        name
        for name in values[seeds[0]]
        if all(name in numbers[seed] for numbers in (base, values) for seed in seeds)
    ]
    return {
        name: over_differences(
            np.array([base[seed][name] for seed in seeds]),
            np.array([values[seed][name] for seed in seeds]),
            None,
            over="seeds",
        )
        for name in names
    }


def _baselines(by_approach: Mapping[str, list[Record]], folds: int) -> list[Row]:
    """The rows of each network that was begun with, as it was, and of raw pixels."""
    networks: dict[tuple[str, ...], list[Record]] = {}
    for group in by_approach.values():
        key = tuple(str(group[0].recipe.get(option)) for option in NETWORK)
        # Of approaches that share a network one will do: its beginnings are the same.
        networks.setdefault(key, group)
    differ = [place for place in range(len(NETWORK)) if len({key[place] for key in networks}) > 1]
    rows = []
    for key, group in networks.items():
        which = ", ".join(f"{NETWORK[place]} {key[place]}" for place in differ)
        for before in BEFORE_TRAINING:
            if values := by_seed(group, before, folds):
                name = BASELINES[before] + (f" ({which})" if which else "")
                rows.append(Row(name, len(values), _means(values)))
    flat = by_seed(next(iter(by_approach.values()), []), PIXELS, folds)
    if flat:
        # They are the same for every seed: no interval over seeds speaks of them.
        rows.append(Row(BASELINES[PIXELS], 1, _means(dict(list(flat.items())[:1]))))
    return rows


def _reasons(records: Sequence[Record]) -> dict[str, str]:
    """Why there is no row of an approach: what the first of its runs, or trials, ended with."""
    done = {(one.approach, one.trial is None) for one in records if one.outcome == DONE}
    reasons: dict[str, str] = {}
    for record in records:
        is_run = record.trial is None
        known = {(record.approach, True), (record.approach, is_run)}
        if record.outcome != DONE and not known & done:
            what = "" if is_run else "no trial could be trained, "
            reasons.setdefault(record.approach, f"{what}{record.outcome}: {record.error}")
    return reasons
