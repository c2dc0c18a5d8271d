"""Two results of suites, e.g. of two versions or machines, seed by seed."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metricforge.bench.result_file import Record, read_records, same_images
from metricforge.bench.runner import RECORDS
from metricforge.bench.table import by_seed, estimate_json
from metricforge.contracts import Estimate
from metricforge.errors import DataError
from metricforge.evaluation import over_differences
from metricforge.scoring.baselines import TRAINED
from metricforge.tuning.trials import DONE

Key = tuple[int, int | None]
"""A seed and a fold, if there are folds."""


@dataclass(frozen=True)
class Compared:
    """By approach and metric: the first mean, the second, and their difference in pairs."""

    approaches: Mapping[str, Mapping[str, tuple[float, float, Estimate]]]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "approaches": {
                name: {
                    metric: {
                        "first": first,
                        "second": second,
                        "difference": estimate_json(difference),
                    }
                    for metric, (first, second, difference) in metrics.items()
                }
                for name, metrics in self.approaches.items()
            },
            "notes": list(self.notes),
        }


def compare(first: Path, second: Path) -> Compared:
    """The approaches that both folders of results have; DataError if there are none."""
    left, right = _by_approach(first), _by_approach(second)
    notes = [*_older(first), *_older(second)]
    approaches = {
        name: metrics for name in left if (metrics := _differences(left[name], right.get(name, {})))
    }
    if not approaches:
        raise DataError(
            f"{first} and {second} have no approach in common that was tested on the same classes."
        )
    notes += [note for name in approaches for note in _other_options(left[name], right[name])]
    notes += [note for name in approaches for note in _left_out(left[name], right[name])]
    if any(not same_images(left[n][key], right[n][key]) for n in left if n in right
           for key in left[n] if key in right[n]):  # fmt: skip
        notes.append(
            "the images or labels of a dataset have changed between the two: runs on other images "
            "are not compared."
        )
    alone = sorted(set(left) ^ set(approaches)) + sorted(set(right) - set(approaches))
    if alone:
        notes.append(f"in one of them alone, or on other classes: {', '.join(alone)}.")
    return Compared(approaches, tuple(dict.fromkeys(notes)))


def _by_approach(folder: Path) -> dict[str, dict[Key, Record]]:
    """The newest record of each approach and key, of those on the data of the newest of all."""
    newest: dict[str, dict[Key, Record]] = {}
    rules: dict[str, tuple[str, ...]] = {}
    for record in sorted(_done(folder), key=lambda record: record.finished, reverse=True):
        if rules.setdefault(record.approach, _rule(record)) == _rule(record):
            newest.setdefault(record.approach, {}).setdefault(_key(record), record)
    return newest


def _rule(record: Record) -> tuple[str, ...]:
    """The suite of a record, its images, and how these are split, whatever the fold."""
    split = str(record.recipe.get("split", ""))
    return record.suite, record.fingerprint, re.sub(r"\bfold=\d+", "", split)


def _done(folder: Path) -> list[Record]:
    path = folder / RECORDS if folder.is_dir() else folder
    return [
        record for record in read_records(path) if record.outcome == DONE and record.trial is None
    ]


def _key(record: Record) -> Key:
    return record.seed, record.fold


def _older(folder: Path) -> Iterator[str]:
    """A note on each approach with results by several recipes in one folder."""
    counted = Counter(record.approach for record in _done(folder))
    newest = _by_approach(folder)
    for name, count in counted.items():
        if count > len(newest[name]):
            yield f"{folder} has results of '{name}' by several recipes: the newest count."


def _left_out(left: Mapping[Key, Record], right: Mapping[Key, Record]) -> Iterator[str]:
    """A note on the runs that are in both, and can't be compared."""
    name = next(iter(left.values())).approach
    others = [key for key in left if key in right and not _alike(left[key], right[key])]
    if others:
        yield f"'{name}': {_told(others)} tested on other classes or images in the two."
    both = [key for key in left if key in right and key not in others]
    counts = Counter(seed for seed, _ in both)
    whole = max(counts.values(), default=0)
    if incomplete := [key for key in both if counts[key[0]] < whole]:
        yield f"'{name}': {_told(incomplete)} left out, for other folds of the seed are missing."


def _told(keys: Sequence[Key]) -> str:
    seeds = sorted({seed for seed, _ in keys})
    listed = ", ".join(map(str, seeds))
    return f"seed {listed} is" if len(seeds) == 1 else f"seeds {listed} are"


def _alike(first: Record, second: Record) -> bool:
    return first.split_hash == second.split_hash and same_images(first, second)


def _other_options(left: Mapping[Key, Record], right: Mapping[Key, Record]) -> Iterator[str]:
    """A note on the options in which an approach differs between the two."""
    for key in left:
        if key in right:
            first, second = left[key].recipe, right[key].recipe
            differences = [
                f"{option} {first.get(option)} / {second.get(option)}"
                for option in dict.fromkeys([*first, *second])
                if first.get(option) != second.get(option)
            ]
            if differences:
                yield f"{left[key].approach} had other options: {'; '.join(differences)}."


def _differences(
    left: Mapping[Key, Record], right: Mapping[Key, Record]
) -> dict[str, tuple[float, float, Estimate]]:
    """The means and differences over the seeds that both have; of common folds, if any."""
    both = [key for key in left if key in right and _alike(left[key], right[key])]
    folds = max(Counter(seed for seed, _ in both).values(), default=0)
    first, second = (by_seed([side[key] for key in both], TRAINED, folds) for side in (left, right))
    pairs = [(first[seed], second[seed]) for seed in first if seed in second]
    if not pairs:
        return {}
    names = [
        name for name in pairs[0][0] if all(name in scores for pair in pairs for scores in pair)
    ]
    compared = {}
    for name in names:
        left_scores, right_scores = (
            np.array([pair[side][name] for pair in pairs]) for side in (0, 1)
        )
        difference = over_differences(left_scores, right_scores, None, over="seeds")
        compared[name] = (statistics.fmean(left_scores), statistics.fmean(right_scores), difference)
    return compared
