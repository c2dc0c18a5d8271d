"""Identifying an image among a million: exactly, or by an approximate search.

    python -m benchmarks.speed.galleries [--images 1000000] [--write]

A gallery of 128 dimensions with ten images a class, drawn around class centres and scaled to unit
length. Queries are further images of its classes. One image is asked at a time, as a server does,
and then 500 together. Each way is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

from benchmarks.sections import in_a_process, machine, table, write_section
from metricforge.evaluation import By, IndexKind
from metricforge.galleries.calibration import Calibration
from metricforge.galleries.state import Enrolled, State

DIM, EACH, NOISE = 128, 10, 0.7
ALONE, TOGETHER = 25, 500
WAYS: tuple[tuple[IndexKind, By], ...] = (
    ("exact", "nearest"), ("exact", "mean"), ("ivf", "nearest"), ("ivf", "mean"),
    ("hnsw", "nearest"), ("hnsw", "mean"),
)  # fmt: skip


def main() -> None:
    """Measure, and print or write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", nargs=2, metavar=("INDEX", "BY"))
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(*options.only, options.images)))
        return
    rows = [
        [
            f"{kind}, by {'class means' if by == 'mean' else 'the nearest image'}",
            *in_a_process(
                "benchmarks.speed.galleries", "--images", str(options.images), "--only", kind, by
            ),
        ]
        for kind, by in WAYS
    ]
    lines = [
        "## Identifying among a million",
        "",
        f"`python -m benchmarks.speed.galleries --write` on {machine()}. {options.images:,} images "
        f"of {DIM} dimensions, {EACH} of each class; median of {ALONE} images asked one at a time, "
        f"and {TOGETHER} asked together. first: the first answer, with what is built for it.",
        "",
        *table(["index", "first, s", "one, ms", "of many, ms each", "class right"], rows),
    ]
    print("\n".join(lines))
    if options.write:
        write_section("galleries", lines)


def measure(kind: IndexKind, by: By, count: int) -> list[str]:
    """Seconds of the first answer, milliseconds of others, and how often the class is right."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((count // EACH, DIM), dtype=np.float32)
    labels = np.arange(count) % len(centres)
    rows, queries = (
        scaled(centres[which] + NOISE * rng.standard_normal((len(which), DIM), dtype=np.float32))
        for which in (labels, np.arange(ALONE + TOGETHER))
    )
    enrolled = tuple(Enrolled(f"class {n}", f"{n}/{i}.jpg", "") for i, n in enumerate(labels))
    chosen = Calibration(0.1, 10, EACH, EACH, by, False, 0.9, 0.5, (0.0, 4.0), (1.0, 0.0))
    state = State(enrolled, rows, chosen, kind)
    first = timed(state, queries[:1])
    alone = statistics.median(timed(state, queries[n : n + 1]) for n in range(1, ALONE))
    many = queries[-TOGETHER:]
    together = timed(state, many) / TOGETHER
    right = np.mean(
        [
            answer.candidates[0].name == f"class {ALONE + n}"
            for n, answer in enumerate(state.answers(many, 1))
        ]
    )
    return [f"{first:.1f}", f"{1e3 * alone:.1f}", f"{1e3 * together:.1f}", f"{right:.1%}"]


def scaled(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def timed(state: State, queries: np.ndarray) -> float:
    """Seconds until all queries are answered."""
    begin = time.perf_counter()
    state.answers(queries, 1)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
