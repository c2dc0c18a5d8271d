"""The table of a suite: means over seeds, with intervals, and differences in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from metricforge.bench.result_file import Record, same_images
from metricforge.bench.suite import Suite
from metricforge.bench.table_notes import notes, what_numbers_are
from metricforge.contracts import Estimate
from metricforge.evaluation import over_differences, over_seeds
from metricforge.scoring.baselines import (
    BEFORE_TRAINING,
    CUSTOM,
    PIXELS,
    PRETRAINED,
    RAW,
    TRAINED,
    UNTRAINED,
    VECTORS,
)
from metricforge.scoring.measure import lowest
from metricforge.tuning.trials import DONE

BASELINES = {
    UNTRAINED: "untrained network",
    PRETRAINED: "pretrained features, no head",
    CUSTOM: "features as given, no head",
    PIXELS: "pixels",
    VECTORS: "vectors",
}
# The options that determine a network before it is trained.
NETWORK = ("backbone", "head", "dim")


@dataclass(frozen=True)
class Row:
    """An approach: its metrics by name, and their differences to those of `baseline`.

    Means over seeds (and folds, if any) with 95 % intervals over seeds; a single seed has the
    interval of all possible values. Differences are paired by seed; `baseline` is "" if there is
    none. `seconds` is the median of the trainings'. An approach that could not be trained has a
    `reason` only.
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
    """The rows of a suite that are tested on the same images, with notes.

    `what` names the classes that were tested, and what the means are over. In a grid all columns
    are of one `number`.
    """

    title: str
    numbers: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    what: str = ""
    number: str = ""

    def to_json(self) -> dict[str, Any]:
        """The table for another program, without intervals if there is one seed only."""
        rows = [
            asdict(row)
            | {
                "numbers": {
                    name: estimate_json(estimate) for name, estimate in row.numbers.items()
                },
                "differences": {
                    name: estimate_json(estimate) for name, estimate in row.differences.items()
                },
            }
            for row in self.rows
        ]
        return asdict(self) | {"rows": rows}


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """An estimate over seeds for another program; a single seed has no interval."""
    return asdict(estimate) | ({"low": None, "high": None} if estimate.n == 1 else {})


def tabulate(suite: Suite, records: Sequence[Record]) -> list[Table]:
    """A table for each dataset and split of the records of a suite."""
    suite_records = [record for record in records if record.suite == suite.name]
    groups: list[list[Record]] = []
    for record in suite_records:
        if record.outcome == DONE and record.trial is None:
            group = next((group for group in groups if _belongs(record, group)), None)
            if group is None:
                groups.append([record])
            else:
                group.append(record)
    missing = _reasons(suite_records)
    titles = _titles(suite, groups)
    return [
        _table(suite, title, group, {name: missing[name] for name in names}, suite_records)
        for title, group, names in zip(
            titles, groups, _by_table(suite, groups, missing), strict=True
        )
    ] or [_table(suite, suite.title, [], missing, suite_records)]


def _by_table(
    suite: Suite, groups: Sequence[Sequence[Record]], names: Iterable[str]
) -> list[list[str]]:
    """The approaches without a finished run that belong in each table, one table a group.

    In that of the same dataset and split, or in the first if there is none.
    """
    tested_on = {approach.name: suite.data_of(approach) for approach in suite.approaches}
    by_group: list[list[str]] = [[] for _ in groups]
    for name in names if groups else ():
        matches = (
            any(tested_on.get(record.approach) == tested_on.get(name) for record in group)
            for group in groups
        )
        by_group[next((index for index, is_match in enumerate(matches) if is_match), 0)].append(
            name
        )
    return by_group


def _belongs(record: Record, group: Sequence[Record]) -> bool:
    """Whether a run was tested on the same images as those of a group: in one fold, or in all."""

    def tested_on(run: Record) -> tuple[str, str]:
        # Each fold has a split of its own.
        return str(run.recipe["dataset"]), run.split_hash if run.fold is None else ""

    return all(tested_on(record) == tested_on(each) and same_images(record, each) for each in group)


def _titles(suite: Suite, groups: Sequence[Sequence[Record]]) -> list[str]:
    """A title for each table, with what tells it from another of the same dataset."""
    firsts = [group[0] for group in groups]
    dataset = [f"{suite.title}: {first.recipe['dataset']}" for first in firsts]
    split = [f"{name}, split {first.recipe.get('split')}"
             for name, first in zip(dataset, firsts, strict=True)]  # fmt: skip
    exact = [f"{name} {first.split_hash[:8]}, images {first.fingerprint[:8] or 'unknown'}"
             for name, first in zip(split, firsts, strict=True)]  # fmt: skip
    return [
        next((text for text, same in ((d, dataset), (s, split)) if same.count(text) == 1), e)
        for d, s, e in zip(dataset, split, exact, strict=True)
    ]


def _table(
    suite: Suite, title: str, done: list[Record], missing: Mapping[str, str], records: list[Record]
) -> Table:
    order = [approach.name for approach in suite.approaches]
    by_approach: dict[str, list[Record]] = {}
    for record in sorted(
        done,
        key=lambda record: order.index(record.approach) if record.approach in order else len(order),
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
            differences={} if base == name else _differences(values.get(base, {}), values[name]),
            baseline="" if base == name else base,
            seconds=round(statistics.median(record.seconds for record in group), 1),
        )
        rows.append(row)
    baselines = dict.fromkeys(row.baseline for row in rows if row.baseline)
    rows += _baselines(by_approach, folds)
    rows += [Row(name=name, reason=reason) for name, reason in missing.items()]
    measured = tuple(dict.fromkeys(n for row in rows for n in row.numbers))
    what = what_numbers_are(done, folds)
    return Table(
        title=title,
        numbers=suite.numbers or measured,
        rows=tuple(rows),
        notes=tuple(notes(suite, what, by_approach, values, records, list(baselines), measured)),
        what=what,
    )


def by_seed(records: Iterable[Record], subject: str, folds: int) -> dict[int, dict[str, float]]:
    """The metrics of each seed that has all its folds: means over them, of their common metrics."""
    scores_by_seed: dict[int, list[dict[str, float]]] = {}
    for record in records:
        numbers = record.results.get(subject, {})
        scores_by_seed.setdefault(record.seed, []).append(
            {name: estimate["value"] for name, estimate in numbers.items()}
        )
    return {
        seed: {
            name: statistics.fmean(numbers[name] for numbers in each)
            for name in each[0]
            if all(name in numbers for numbers in each)
        }
        for seed, each in scores_by_seed.items()
        if len(each) == folds and each[0]
    }


def _means(values: Mapping[int, Mapping[str, float]]) -> dict[str, Estimate]:
    names = dict.fromkeys(name for numbers in values.values() for name in numbers)
    return {
        name: over_seeds(
            np.array([numbers[name] for numbers in values.values() if name in numbers]),
            least=lowest(name),
        )
        for name in names
    }


def _differences(
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
    """The rows of each network before its training, and of raw pixels."""
    networks: dict[tuple[str, ...], list[Record]] = {}
    for group in by_approach.values():
        key = tuple(str(group[0].recipe.get(option)) for option in NETWORK)
        # One approach of those that share a network is enough: they begin with the same weights.
        networks.setdefault(key, group)
    differ = [index for index in range(len(NETWORK)) if len({key[index] for key in networks}) > 1]
    rows = []
    for key, group in networks.items():
        which = ", ".join(f"{NETWORK[index]} {key[index]}" for index in differ)
        for before in BEFORE_TRAINING:
            if values := by_seed(group, before, folds):
                name = BASELINES[before] + (f" ({which})" if which else "")
                rows.append(Row(name, len(values), _means(values)))
    for raw in RAW:
        if flat := by_seed(next(iter(by_approach.values()), []), raw, folds):
            # They are the same for every seed, so they have no interval over seeds.
            rows.append(Row(BASELINES[raw], 1, _means(dict(list(flat.items())[:1]))))
    return rows


def _reasons(records: Sequence[Record]) -> dict[str, str]:
    """Why an approach has no row: the outcome of the first of its runs, or trials."""
    done = {(record.approach, record.trial is None) for record in records if record.outcome == DONE}
    reasons: dict[str, str] = {}
    for record in records:
        is_run = record.trial is None
        known = {(record.approach, True), (record.approach, is_run)}
        if record.outcome != DONE and not known & done:
            what = "" if is_run else "no trial could be trained, "
            reasons.setdefault(record.approach, f"{what}{record.outcome}: {record.error}")
    return reasons
