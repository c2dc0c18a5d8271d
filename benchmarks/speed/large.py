"""A million embeddings by each index, and ten thousand episodes.

    python -m benchmarks.speed.large [--images 1000000] [--queries 10000] [--write]

Embeddings around their classes, a hundred of each, float32, 128 dimensions; recall@1 and the means
over R of some queries, each looking for its class among all others. Each index in a process of its
own, for time and peak memory above the embeddings. Episodes: 20-way 1-shot with 5 queries a class,
drawn and answered, among as many embeddings as Omniglot's test part has.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from benchmarks.sections import machine, table, write_section
from benchmarks.speed.mining import resident
from benchmarks.speed.retrieval import made
from metricforge.evaluation import draw, score_episodes, score_retrieval

PER_CLASS = 100
INDICES = ("exact", "ivf", "hnsw")
EPISODES = {"way": 20, "shot": 1, "queries": 5, "episodes": 10_000}


def main() -> None:
    """Measure, print as JSON, and write the table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--indices", nargs="*", choices=INDICES, default=INDICES)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    found = {name: alone(search, name, options.images, options.queries) for name in options.indices}
    record = {"machine": machine(), "indices": found, "episodes": alone(episodes)}
    print(json.dumps(record, indent=1))
    if options.write:
        write_section("large", report(record, options))


def alone(case: Any, *arguments: Any) -> dict[str, Any]:
    """What a case gives in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result: dict[str, Any] = pool.apply(case, (*arguments, torch.get_num_threads()))
    return result


def search(index: Any, images: int, queries: int, threads: int) -> dict[str, Any]:
    """Seconds, peak megabytes and what one index finds."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    embeddings, labels = made(images, images // PER_CLASS)
    asking = np.sort(np.random.default_rng(1).permutation(images)[:queries])
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    began = time.perf_counter()
    scores = score_retrieval(
        embeddings, labels, [1], queries=asking, index=index, rank_all=False, seed=0
    )
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mb": round((resident("VmHWM") - before) / 1e6),
        "embeddings_mb": round(embeddings.nbytes / 1e6),
        "found": round(scores.found, 4),
        "precision@1": round(float(scores.recall[1].mean()), 4),
        "map@r": round(float(scores.map_at_r.mean()), 4),
    }


def episodes(threads: int) -> dict[str, Any]:
    """Seconds to draw and to answer ten thousand episodes."""
    torch.set_num_threads(threads)
    embeddings, labels = made(13_180, 659)
    seconds: dict[str, list[float]] = {"drawn": [], "answered": []}
    for _ in range(3):
        began = time.perf_counter()
        drawn = draw(labels, **EPISODES)
        seconds["drawn"].append(time.perf_counter() - began)
        began = time.perf_counter()
        score_episodes(embeddings, drawn, "prototype")
        seconds["answered"].append(time.perf_counter() - began)
    return {name: round(float(np.median(each)), 2) for name, each in seconds.items()}


def report(record: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """The section of RESULTS.md."""
    head = ["index", "seconds", "peak MB", "of the nearest found", "precision@1", "map@r"]
    rows = [
        [name, f"{f['seconds']:,.0f}", f"{f['peak_mb']:,}", f"{f['found']:.2%}",
         f"{f['precision@1']:.4f}", f"{f['map@r']:.4f}"]
        for name, f in record["indices"].items()
    ]  # fmt: skip
    few = record["episodes"]
    return [
        "## A million embeddings, ten thousand episodes",
        "",
        f"`python -m benchmarks.speed.large --images {options.images} --queries "
        f"{options.queries} --indices {' '.join(record['indices'])} --write` on "
        f"{record['machine']}. Once each: recall@1 and the means "
        f"over R of {options.queries:,} queries among {options.images:,} embeddings x 128, a "
        "hundred of each class; an index is built in this time, and compared with an exact search "
        "for a thousand queries. Peak memory is above the embeddings.",
        "",
        *table(head, rows),
        "",
        f"10,000 episodes, 20-way 1-shot with 5 queries a class, among 13,180 embeddings x 128: "
        f"drawn in {few['drawn']} s, answered in {few['answered']} s.",
        "",
    ]


if __name__ == "__main__":
    main()
