"""The numbers of each class, as a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

import numpy as np

from metricforge.contracts import Scored
from metricforge.evaluation import Ints


def as_csv(scores: Mapping[str, Scored], classes: tuple[str, ...]) -> str:
    """A line for each class: its name, its queries, and the means of those scores that have any.

    Empty where no score knows its class.
    """
    known = {name: s for name, s in scores.items() if s.classes is not None}
    if not known:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "queries", *known])
    writer.writerows(_lines(known, classes))
    return text.getvalue()


def _lines(scores: Mapping[str, Scored], classes: tuple[str, ...]) -> Iterator[list[object]]:
    first = next(iter(scores.values())).classes
    assert first is not None
    there, count = np.unique(first, return_counts=True)
    columns = [_means(scored, there) for scored in scores.values()]
    for row, label in enumerate(there.tolist()):
        means = (f"{column[row]:.6g}" for column in columns)
        yield [classes[label], int(count[row]), *means]


def _means(scored: Scored, classes: Ints) -> np.ndarray:
    assert scored.classes is not None
    row = np.searchsorted(classes, scored.classes)
    sums = np.bincount(row, weights=scored.values, minlength=len(classes))
    return sums / np.bincount(row, minlength=len(classes))
