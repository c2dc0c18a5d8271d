"""Two results of suites, such as of two versions or machines, seed by seed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metricforge.bench.carrying_out import RECORDS
from metricforge.bench.records import DONE, Record, read_records
from metricforge.bench.table import by_seed
from metricforge.contracts import Estimate
from metricforge.errors import DataError
from metricforge.evaluation import over_differences
from metricforge.runs.measure import TRAINED

Key = tuple[int, int | None, str]


@dataclass(frozen=True)
class Compared:
    """By approach and number: the first mean, the second, and their difference in pairs."""

    approaches: Mapping[str, Mapping[str, tuple[float, float, Estimate]]]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "approaches": {
                name: {
                    number: {"first": one, "second": other, "difference": asdict(apart)}
                    for number, (one, other, apart) in numbers.items()
                }
                for name, numbers in self.approaches.items()
            },
            "notes": list(self.notes),
        }


def compare(first: Path, second: Path) -> Compared:
    """What two folders of results both have; DataError where that is nothing."""
    here, there = _by_approach(first), _by_approach(second)
    approaches = {
        name: numbers for name in here if (numbers := _apart(here[name], there.get(name, {})))
    }
    if not approaches:
        raise DataError(
            f"{first} and {second} have no approach in common that was tested on the same classes."
        )
    alone = sorted(set(here) ^ set(approaches)) + sorted(set(there) - set(approaches))
    notes = (f"in one of them alone, or on other classes: {', '.join(alone)}.",) if alone else ()
    return Compared(approaches, notes)


def _by_approach(folder: Path) -> dict[str, dict[Key, Record]]:
    found: dict[str, dict[Key, Record]] = {}
    path = folder / RECORDS if folder.is_dir() else folder
    for record in read_records(path):
        if record.outcome == DONE and record.trial is None:
            key = (record.seed, record.fold, record.split_hash)
            found.setdefault(record.approach, {})[key] = record
    return found


def _apart(
    here: Mapping[Key, Record], there: Mapping[Key, Record]
) -> dict[str, tuple[float, float, Estimate]]:
    """What both have of each seed; with folds the mean of those that both have."""
    both = [key for key in here if key in there]
    folds = max(Counter(seed for seed, *_ in both).values(), default=0)
    first, second = (by_seed([side[key] for key in both], TRAINED, folds) for side in (here, there))
    pairs = [(first[seed], second[seed]) for seed in first if seed in second]
    if not pairs:
        return {}
    names = [
        name for name in pairs[0][0] if all(name in one and name in other for one, other in pairs)
    ]
    found = {}
    for name in names:
        one, other = (np.array([pair[side][name] for pair in pairs]) for side in (0, 1))
        apart = over_differences(one, other, None, over="seeds")
        found[name] = (statistics.fmean(one), statistics.fmean(other), apart)
    return found
