"""Our figures beside those that others have published, from published.toml, with their source."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.records import BENCHMARKS, records_of
from benchmarks.sections import table
from metricforge.bench import Record
from metricforge.bench.formats import shown
from metricforge.bench.table import by_seed
from metricforge.contracts import Estimate
from metricforge.evaluation import over_seeds
from metricforge.scoring.baselines import PIXELS, TRAINED

SURE = ("S", "S2")
"""The marks of published figures that are shown."""

SHORT = (
    ("omniglot-record", ("recipe",), "error@omniglot",
     "Omniglot, the 400 official trials, 30 alphabets to train: error"),
    ("omniglot-minimal", ("small1",), "error@omniglot",
     "the same, 5 alphabets (small1) to train, 25 others to choose the recipe"),
    ("omniglot-minimal", ("small2",), "error@omniglot",
     "the same, small2, by the recipe that was chosen for small1"),
    ("omniglot-minimal", ("small1", "small2"), "error@omniglot", "the mean of the two"),
    ("omniglot-vinyals", ("recipe, resnet-small",), "accuracy@20way1shot",
     "Omniglot, 20-way 1-shot, 1,038 characters to train, 162 to choose the epoch, resnet-small: "
     "accuracy"),
    ("omniglot-vinyals", ("recipe, conv4",), "accuracy@20way1shot",
     "the same, conv4, as large as the published networks"),
    ("transfer", ("recipe, thick strokes",), "mnist accuracy@10way1shot",
     "Omniglot, framed and thickened as digits are, to MNIST, 10-way 1-shot: accuracy"),
)  # fmt: skip
"""The rows of the README's table: suite, approaches (of several their mean), number, and what it is
called there."""


def short() -> list[str]:
    """The table of the README: our best beside what is published, as far as it is there."""
    rows = []
    for name, approaches, number, title in SHORT:
        records = records_of(name)
        if found := together(records, approaches, number):
            pixels = _percent(together(records, approaches, number, PIXELS, seeds=1))
            others = "; ".join(_by_source(_beside(name, approaches, number)))
            rows.append((title, _percent(found), str(found.n), pixels, others))
    if not rows:
        return []
    heads = ("", "metricforge, mean [95 % interval over seeds]", "seeds", "pixels", "published")
    return [*table(heads, rows), ""]


def means(name: str, records: Sequence[Record]) -> list[str]:
    """The means of several approaches that the README shows, as far as they are there."""
    shared = [(approaches, number) for of, approaches, number, _ in SHORT if of == name]
    lines = []
    for approaches, number in shared:
        found = together(records, approaches, number) if len(approaches) > 1 else None
        if found:
            title = f"Mean of {' and '.join(approaches)}, in pairs of seeds"
            lines += [f"{title}: {number} {shown(found, number)}, {found.n} seeds.", ""]
    return lines


def together(
    records: Sequence[Record],
    approaches: Sequence[str],
    number: str,
    subject: str = TRAINED,
    seeds: int | None = None,
) -> Estimate | None:
    """The mean of some approaches, over the seeds that all have, or the first `seeds` of them."""
    each = [
        by_seed([one for one in records if one.approach == name], subject, folds=1)
        for name in approaches
    ]
    common = [seed for seed in sorted(each[0]) if all(number in one.get(seed, {}) for one in each)]
    values = [statistics.fmean(one[seed][number] for one in each) for seed in common[:seeds]]
    return over_seeds(np.array(values)) if values else None


def _percent(found: Estimate | None) -> str:
    if found is None:
        return ""
    value, low, high = (100 * number for number in (found.value, found.low, found.high))
    return f"{value:.1f} %" + (f" [{low:.1f}, {high:.1f}]" if found.n > 1 else "")


def by_others(name: str) -> list[str]:
    """What others have published, with its source."""
    entries = _entries(name)
    if not entries:
        return []
    rows = [
        (entry["who"] + _counterpart(entry), entry["number"], entry["value"], entry["source"])
        for entry in entries
    ]
    return ["Published by others:", "", *table(("", "number", "value", "source"), rows), ""]


def _counterpart(entry: Mapping[str, Any]) -> str:
    """Beside which approaches of ours a figure stands, where not beside all."""
    approaches = entry.get("approaches", [])
    if not approaches:
        return ""
    return f", {'mean of ' if len(approaches) > 1 else ''}{' and '.join(approaches)}"


def _by_source(entries: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The figures of each source, and the source."""
    for source, group in groupby(entries, key=lambda entry: entry["source"]):
        figures = ", ".join(f"{entry['who']} {entry['value']}" for entry in group)
        yield f"{figures} ({source})"


def _entries(name: str) -> list[dict[str, Any]]:
    """What is published beside a suite, of which we are sure."""
    text = (BENCHMARKS / "published.toml").read_text()
    entries: list[dict[str, Any]] = tomllib.loads(text).get(name, [])
    return [entry for entry in entries if entry["mark"] in SURE]


def _beside(name: str, approaches: Sequence[str], number: str) -> list[dict[str, Any]]:
    """The sure figures that others have of a number, for a whole suite or for these approaches."""
    return [
        entry
        for entry in _entries(name)
        if entry["number"] == number and entry.get("approaches") in (None, [*approaches])
    ]
