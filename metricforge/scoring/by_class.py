"""The metrics of each class, as a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

import numpy as np

from metricforge.contracts import Scored
from metricforge.evaluation import class_means
from metricforge.report.csv_cells import inert


def as_csv(scores: Mapping[str, Scored], classes: tuple[str, ...]) -> str:
    """A line for each class: its name, its queries, and its mean of each score that has classes.

    Empty if no score has classes.
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
    columns = [_by_class(scored) for scored in scores.values()]
    for label in sorted({label for column in columns for label in column}):
        known = [column.get(label) for column in columns]
        queries = next(score[0] for score in known if score)
        yield [inert(classes[label]), queries, *("" if f is None else f"{f[1]:.6g}" for f in known)]


def _by_class(scored: Scored) -> dict[int, tuple[int, float]]:
    """The queries of each class and their mean."""
    assert scored.classes is not None
    classes, counts = np.unique(scored.classes, return_counts=True)
    means = class_means(scored.values, scored.classes)
    return dict(
        zip(classes.tolist(), zip(counts.tolist(), means.tolist(), strict=True), strict=True)
    )
