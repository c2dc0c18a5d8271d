"""Precision@1, R-precision and MAP@R of many embeddings, beside PML, faiss and a bare product.

    python -m benchmarks.speed.retrieval [--repeats 2] [--write]

Embeddings around their classes, float32, 128 dimensions. Each case runs in a process of its own,
for time and peak memory above the embeddings; those of one size in turns, so that ratios are
within a turn. A peer that would take more than 14 GB fails, and not the machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from benchmarks.sections import machine, table, write_section
from benchmarks.speed.mining import prepare, resident, spread
from metricforge.evaluation import score_retrieval

SIZES = ((10_000, 10), (10_000, 500), (60_000, 10), (60_000, 3_000), (200_000, 10_000))
# Of more embeddings one turn takes minutes, and is made once.
MANY = 100_000
DIM, QUERIES = 128, 2_048
OURS, RANKED, PML = "metricforge", "metricforge, and the exact MRR", "PML"
FAISS, PRODUCT = "faiss flat search, k = R", "the matrix product"


def main() -> None:
    """Measure, print as JSON, and write the table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", nargs="*", type=int, help="only these numbers of embeddings")
    parser.add_argument("--cases", nargs="*", help="only these cases")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    measured = [
        {"images": images, "classes": classes, "cases": measure(images, classes, options)}
        for images, classes in SIZES
        if not options.only or images in options.only
    ]
    print(json.dumps({"machine": machine(), "measured": measured}, indent=1))
    if options.write:
        write_section("retrieval", report(measured))


def measure(images: int, classes: int, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, peak megabytes and ratios of each case; None for one that failed."""
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in options.cases or CASES}
    for _ in range(options.repeats if images < MANY else 1):
        for name in [name for name, found in turns.items() if found is not None]:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(timed, (name, images, classes, torch.get_num_threads()))
            if found is None:
                turns[name] = None  # type: ignore[assignment]
            else:
                turns[name].append(found)
    return {name: found and summed_up(found, turns) for name, found in turns.items()}


def summed_up(
    found: list[tuple[float, float]], turns: Mapping[str, list[tuple[float, float]]]
) -> dict[str, Any]:
    """Medians and spread of a case, and its ratios to the floors within the turns."""
    result: dict[str, Any] = {
        "seconds": spread([seconds for seconds, _ in found]),
        "peak_mb": max(peak for _, peak in found),
    }
    for bar in (PRODUCT, FAISS, PML):
        if turns.get(bar):
            pairs = zip(found, turns[bar], strict=True)
            result[f"over {bar}"] = spread([a[0] / b[0] for a, b in pairs])
    return result


def timed(name: str, images: int, classes: int, threads: int) -> tuple[float, float] | None:
    """Seconds and peak megabytes of one case; None where memory does not suffice."""
    prepare()
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    embeddings, labels = made(images, classes)
    CASES[name](*made(500, 10))
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    began = time.perf_counter()
    try:
        CASES[name](embeddings, labels)
    except (MemoryError, RuntimeError):
        return None
    return time.perf_counter() - began, round((resident("VmHWM") - before) / 1e6, 1)


def made(images: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N, 128] around their classes and labels [N]."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(images) % classes
    centres = rng.standard_normal((classes, DIM))
    rows = (0.5 * centres[labels] + rng.standard_normal((images, DIM))).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def ours(embeddings: np.ndarray, labels: np.ndarray) -> None:
    """Recall@1 and the means over R of each query."""
    score_retrieval(embeddings, labels, [1], rank_all=False)


def ours_ranked(embeddings: np.ndarray, labels: np.ndarray) -> None:
    """The same, and the rank of each first hit, however far."""
    score_retrieval(embeddings, labels, [1])


def pml(embeddings: np.ndarray, labels: np.ndarray) -> None:
    """The same three of pytorch-metric-learning, with k the size of the largest class."""
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import FaissKNN

    warnings.simplefilter("ignore")
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=FaissKNN(),
    )
    calculator.get_accuracy(torch.from_numpy(embeddings), torch.from_numpy(labels))


def flat_search(embeddings: np.ndarray, labels: np.ndarray) -> None:
    """R neighbours of each, and nothing made of them."""
    index = faiss.IndexFlatL2(DIM)
    index.add(embeddings)
    k = int(np.bincount(labels).max())
    for begin in range(0, len(embeddings), QUERIES):
        index.search(embeddings[begin : begin + QUERIES], k)


def product(embeddings: np.ndarray, labels: np.ndarray) -> None:
    """All dot products, tile by tile, let go."""
    rows = torch.from_numpy(embeddings)
    tile = torch.empty(256, len(rows))
    for part in rows.split(256):
        torch.mm(part, rows.T, out=tile[: len(part)])


CASES: Mapping[str, Callable[[np.ndarray, np.ndarray], None]] = {
    OURS: ours,
    RANKED: ours_ranked,
    PML: pml,
    FAISS: flat_search,
    PRODUCT: product,
}


def report(measured: list[dict[str, Any]]) -> list[str]:
    """The section of RESULTS.md."""
    head = ["", *(f"{m['images']:,} of {m['classes']:,} classes" for m in measured)]
    rows = [[name, *(cell(name, m["cases"][name]) for m in measured)] for name in CASES]
    return [
        "## Retrieval",
        "",
        f"`python -m benchmarks.speed.retrieval --write` on {machine()}. Precision@1, R-precision "
        "and MAP@R, exact: seconds (median), peak memory above the embeddings, and for metricforge "
        "in brackets the ratio to the matrix product and to the faiss search, as median and "
        "range. 200,000: once. A dash: more than 14 GB.",
        "",
        *table(head, rows),
        "",
    ]


def cell(name: str, case: Mapping[str, Any] | None) -> str:
    """12.3 s, 45 MB [1.8 x, 1.7-1.9; 1.1 x, 1.0-1.2]"""
    if not case:
        return "-"
    text = f"{case['seconds']['median']:.1f} s, {case['peak_mb']:,.0f} MB"
    if name not in (OURS, RANKED):
        return text
    ratios = (case[f"over {bar}"] for bar in (PRODUCT, FAISS) if f"over {bar}" in case)
    told = "; ".join(f"{r['median']:.2f} x, {r['min']:.2f}-{r['max']:.2f}" for r in ratios)
    return f"{text} [{told}]"


if __name__ == "__main__":
    main()
