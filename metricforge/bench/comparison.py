"""Two results of suites, e.g. of two versions or machines, seed by seed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metricforge.bench.result_file import Record, read_records
from metricforge.bench.runner import RECORDS
from metricforge.bench.table import by_seed, told
from metricforge.contracts import Estimate
from metricforge.errors import DataError
from metricforge.evaluation import over_differences
from metricforge.scoring.baselines import TRAINED
from metricforge.tuning.trials import DONE

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
                    number: {"first": one, "second": other, "difference": told(apart)}
                    for number, (one, other, apart) in numbers.items()
                }
                for name, numbers in self.approaches.items()
            },
            "notes": list(self.notes),
        }


def compare(first: Path, second: Path) -> Compared:
    """What two folders of results both have; DataError where that is nothing."""
    here, there = _by_approach(first), _by_approach(second)
    notes = [*_older(first), *_older(second)]
    approaches = {
        name: numbers for name in here if (numbers := _apart(here[name], there.get(name, {})))
    }
    if not approaches:
        raise DataError(
            f"{first} and {second} have no approach in common that was tested on the same classes."
        )
    notes += [note for name in approaches for note in _other_options(here[name], there[name])]
    alone = sorted(set(here) ^ set(approaches)) + sorted(set(there) - set(approaches))
    if alone:
        notes.append(f"in one of them alone, or on other classes: {', '.join(alone)}.")
    return Compared(approaches, tuple(dict.fromkeys(notes)))


def _by_approach(folder: Path) -> dict[str, dict[Key, Record]]:
    """The newest record of each approach and key."""
    found: dict[str, dict[Key, Record]] = {}
    for record in sorted(_done(folder), key=lambda one: one.finished):
        found.setdefault(record.approach, {})[_key(record)] = record
    return found


def _done(folder: Path) -> list[Record]:
    path = folder / RECORDS if folder.is_dir() else folder
    return [one for one in read_records(path) if one.outcome == DONE and one.trial is None]


def _key(record: Record) -> Key:
    return record.seed, record.fold, record.split_hash


def _older(folder: Path) -> Iterator[str]:
    """Which approaches have results by several recipes in one folder, of which one counts."""
    counts = Counter((record.approach, _key(record)) for record in _done(folder))
    for name in dict.fromkeys(name for (name, _), count in counts.items() if count > 1):
        yield f"{folder} has results of '{name}' by several recipes: the newest count."


def _other_options(here: Mapping[Key, Record], there: Mapping[Key, Record]) -> Iterator[str]:
    """In which options an approach differs between the two."""
    for key in here:
        if key in there:
            one, other = here[key].recipe, there[key].recipe
            apart = [
                f"{option} {one.get(option)} / {other.get(option)}"
                for option in dict.fromkeys([*one, *other])
                if one.get(option) != other.get(option)
            ]
            if apart:
                yield f"{here[key].approach} had other options: {'; '.join(apart)}."


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
