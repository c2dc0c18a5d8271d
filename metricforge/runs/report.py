"""The report of a run: the records in its folder, as one offline page."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from metricforge.regular_file import read_text
from metricforge.report.page import Facts, Part, write_page
from metricforge.runs.environment import Environment
from metricforge.runs.folder import RunFolder
from metricforge.runs.summary import Summary

PLOTS = {
    "Queries at the left, from the class that is retrieved best to the worst (of each the one with "
    "the median map@r), and the nearest images": "answers.png",
    "Test embeddings": "test.png",
    "The worst queries, each above the image that was found for it": "failures.png",
    "Train embeddings": "train.png",
    "Images of the first batch, each above what augmentation made of it": "augmentation.png",
    "Loss and validation": "loss.png",
    "By epoch: fraction of active tuples, and spread (0: one point; 1: around the "
    "origin) and effective rank of the embeddings": "health.png",
}

MOST_CONFUSED = 10


def write_report(folder: RunFolder) -> None:
    """Write `report.html` from the records in a run's folder."""
    summary, split = folder.summary, folder.split
    parts = [Part(name, part.images, part.classes) for name, part in vars(split.parts).items()]
    plots = {path.name: path for path in folder.plots.iterdir()}
    facts = Facts(
        title=folder.path.name,
        results=summary.results,
        parts=parts,
        split_hash=split.hash,
        closed_set=split.closed_set,
        command="" if folder.extended_after else f"metricforge train --config {folder.config}",
        times_tested=len(folder.records(folder.evaluations)),
        notes=[
            *_untested(summary),
            _chosen(summary),
            *summary.training_notes,
            *summary.notes,
        ],
        definitions=summary.definitions,
        plots={title: plots[file] for title, file in PLOTS.items() if file in plots},
        confused=[
            (*pair.classes, pair.mistakes, pair.queries)
            for pair in summary.failures.confused[:MOST_CONFUSED]
        ],
        config=tomllib.loads(read_text(folder.config)),
        environment=folder.read("env", Environment),
    )
    write_page(folder.report, facts)


def _chosen(summary: Summary) -> str:
    """The epoch that the weights are of, and why."""
    epoch = f"epoch {summary.selected_epoch} of {summary.epochs}"
    return f"The weights are those of {epoch}, by {summary.selected_by}."


def _untested(summary: Summary) -> Iterator[str]:
    """The text of a page without results."""
    if not summary.results:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in summary.validation.items())
        yield "The test classes stay closed. " + (
            f"Validation classes, by the chosen epoch: {scores}." if scores else "None validates."
        )
