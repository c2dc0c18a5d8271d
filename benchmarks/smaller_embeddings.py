"""What smaller embeddings cost on held-out classes, and how fast they are searched.

    python -m benchmarks.smaller_embeddings NAME=RUN ... [--write]

The forms are those that `metricforge shrink RUN` compares on validation classes, fitted to training
images. Here they are compared on the test classes of each run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from benchmarks.sections import machine, table, write_section
from metricforge.contracts import Estimate
from metricforge.loading import load
from metricforge.shrinking.form import usual
from metricforge.shrinking.search_speed import NEAREST, QUERIES, ROWS
from metricforge.shrinking.shrink import Row, Shrunken, shrink

METRICS = ("recall@1", "map@r")


def main() -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lines = [
        "## Smaller embeddings",
        "",
        f"`python -m benchmarks.smaller_embeddings NAME=RUN ... --write` on {machine()}. Each form "
        "is fitted to training images and compared on test classes, queries and gallery alike: "
        "differences to the model's own embeddings, paired, with 95 % intervals over classes. "
        f"Queries a second: the {NEAREST} nearest of {ROWS:,} packed rows, {QUERIES} queries at a "
        "time, by an exhaustive search of faiss.",
    ]
    for text in options.runs:
        name, _, run = text.partition("=")
        lines += section(name, measure(run))
    print("\n".join(lines))
    if options.write:
        write_section("smaller-embeddings", lines)


def measure(run: str) -> Shrunken:
    """The usual forms of a run's embeddings, on its test classes."""
    return shrink(run, tuple(usual(load(run).card.dim)), part="test")


def section(name: str, found: Shrunken) -> Iterator[str]:
    """The table of a run."""
    yield ""
    yield f"### {name}: {found.images:,} images of {found.classes} classes"
    yield ""
    yield from table(["", "bytes", "queries/s", *METRICS], map(cells, found.rows))


def cells(row: Row) -> list[str]:
    """A form, and its metrics or what it changes."""
    shown = row.differences or row.metrics
    sign = "+" if row.differences else ""
    return [
        row.name,
        f"{row.bytes:,}",
        f"{row.queries:,.0f}",
        *(interval(shown[metric], sign) for metric in METRICS),
    ]


def interval(estimate: Estimate, sign: str) -> str:
    """A value and its 95 % interval."""
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


if __name__ == "__main__":
    main()
