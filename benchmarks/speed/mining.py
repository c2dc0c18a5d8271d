"""Mining and loss, forward and backward, beside pytorch-metric-learning and the machine's limit.

    python -m benchmarks.speed.mining [--batches 1024 2048 4096 8192] [--repeats 5] [--write]

Unit-length embeddings, float32, 128 dimensions, 4 images a class; also ten classes for all
triplets, and ten that lie together for the hardest. All of one batch size are timed in turns, so
that a busy machine slows all alike, and the ratios are those within a turn. Peak memory is that of
a process of its own (on a GPU the allocator's), above what lay there before. A peer that took over
a minute is not run on larger batches. `--write` puts the table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.sections import machine, table, write_section
from benchmarks.speed.cases import CASES, FLOORS, LIMIT, PRODUCTS, Step

DIM, PER_CLASS, FEW = 128, 4, 10
HARD, TEN = "hard-triplet + triplet", "all-triplets, ten classes"
TIGHT = f"{HARD}, tight classes"
# Cases on other batches: ten classes, or classes drawn together as by a long training.
VARIANTS = {TEN: "all-triplets", TIGHT: HARD}
PEER = "PML: "
TOO_LONG = 60.0
# What a step may have in all: a peer that wants more fails, and not the machine.
MOST_BYTES = 14 * 2**30
LARGEST = 65_536


def main() -> None:
    """Measure, print as JSON, and write the table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", nargs="*", type=int, default=[1024, 2048, 4096, 8192])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="only cases that begin so, and the floors")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    prepare()
    slow: dict[str, int] = {}
    measured = [
        measure(batch, options.repeats, options.device, options.only, slow)
        for batch in options.batches
    ]
    large = largest(options.device)
    print(json.dumps({"machine": machine(), "batches": measured, "largest": large}, indent=1))
    if options.write:
        write_section("mining", report(measured, large))


def prepare() -> None:
    """Silence the peers' warnings, and limit what they may take."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))


def measure(
    batch: int, repeats: int, device: str, only: list[str] | None, slow: dict[str, int]
) -> dict[str, Any]:
    """Milliseconds, ratios to the floors and to the peer, and peak bytes, by case."""
    builders = chosen(only, slow)
    turns: dict[str, list[float]] = {name: [] for name in builders}
    steps = {name: build(labels_of(name, batch, device)) for name, build in builders.items()}
    for turn in range(repeats + 1):
        for name, step in list(steps.items()):
            try:
                labels = labels_of(name, batch, device)
                seconds = timed(step, batch_of(name, batch, device), labels, device)
            except (RuntimeError, MemoryError) as error:
                slow[name], turns[name] = batch, []
                print(f"{name} fails at B={batch}: {str(error)[:80]}", file=sys.stderr)
                del steps[name]
                continue
            # The first turn warms up, and is not counted unless it is the only one affordable.
            if turn or seconds > TOO_LONG / 6:
                turns[name].append(seconds)
            if seconds > TOO_LONG / 6:
                slow |= {name: batch} if seconds > TOO_LONG else {}
                del steps[name]
    cases = {name: summed_up(name, turns) for name, seconds in turns.items() if seconds}
    for name in cases:
        cases[name]["peak_mb"] = round(peak(name, batch, device) / 1e6, 1)
    return {"batch": batch, "cases": cases}


def chosen(only: list[str] | None, slow: Mapping[str, int]) -> dict[str, Callable[[Tensor], Step]]:
    """The builders of what is to be timed, by name."""
    found: dict[str, Callable[[Tensor], Step]] = dict(FLOORS)
    for name, (mine, _, peer) in CASES.items():
        if only and not name.startswith(tuple(only)):
            continue
        found[name] = mine
        if peer is not None:
            found[PEER + name] = peer
        found |= {variant: mine for variant, of in VARIANTS.items() if of == name}
    return {name: build for name, build in found.items() if name not in slow}


def summed_up(name: str, turns: Mapping[str, list[float]]) -> dict[str, Any]:
    """Median and spread of a case in milliseconds, and of its ratios within the turns."""
    result: dict[str, Any] = {"ms": spread([1e3 * s for s in turns[name]])}
    own = name.removeprefix(PEER)
    bar = CASES[VARIANTS.get(own, own)][1] if own not in FLOORS else None
    for label, other in ((bar, bar), ("PML", PEER + own)):
        if other and other != name and turns.get(other):
            pairs = zip(turns[name], turns[other], strict=False)
            result[f"over {label}"] = spread([a / b for a, b in pairs])
    return result


def timed(step: Step, embeddings: Tensor, labels: Tensor, device: str) -> float:
    """Seconds of one step, up to the gradient."""
    embeddings.grad = None
    synchronise(device)
    began = time.perf_counter()
    step(embeddings, labels)
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak(name: str, batch: int, device: str) -> float:
    """Bytes at the highest above those before, of one step in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (name, batch, device, torch.get_num_threads()))


def _peak(name: str, batch: int, device: str, threads: int) -> float:
    prepare()
    torch.set_num_threads(threads)
    step_of = chosen(None, {})[name]
    small, labels = batch_of(name, 64, device), labels_of(name, 64, device)
    step_of(labels)(small, labels)
    embeddings, labels = batch_of(name, batch, device), labels_of(name, batch, device)
    step = step_of(labels)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(embeddings, labels)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    step(embeddings, labels)
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """Bytes of this process's memory, now (VmRSS) or at the highest (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return float(line.split()[1]) * 1024
    raise KeyError(field)


def largest(device: str) -> dict[str, float]:
    """Seconds and peak bytes of hard-triplet with a batch that no B x B matrix would survive."""
    embeddings, labels = batch_of(HARD, LARGEST, device), labels_of(HARD, LARGEST, device)
    seconds = timed(CASES[HARD][0](labels), embeddings, labels, device)
    return {"batch": LARGEST, "seconds": seconds, "peak_mb": peak(HARD, LARGEST, device) / 1e6}


@cache
def batch_of(name: str, count: int, device: str) -> Tensor:
    """Unit-length embeddings [count, 128] that want a gradient: random, or near their class."""
    rows = torch.randn(count, DIM, generator=torch.Generator().manual_seed(0))
    if name == TIGHT:
        rows = rows[labels_of(name, count, "cpu")] + 1e-3 * rows
    return torch.nn.functional.normalize(rows, dim=1).to(device).requires_grad_()


def labels_of(name: str, count: int, device: str) -> Tensor:
    """Four images a class, or ten classes."""
    per_class = -(-count // FEW) if name in VARIANTS else PER_CLASS
    return torch.arange(count, device=device) // per_class


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def report(measured: list[dict[str, Any]], large: Mapping[str, float]) -> list[str]:
    """The section of RESULTS.md."""
    lines = [
        "## Mining and loss, forward and backward",
        "",
        f"`python -m benchmarks.speed.mining --write` on {machine()}. Milliseconds (median of the "
        "turns), peak memory, and in brackets the ratio to the floor, as median and range over "
        "the turns. The floors: one tiled product with the highest and lowest of each row "
        f"({LIMIT}, for batch-hard mining), and {PRODUCTS} of B x B x D (for every loss over all "
        "pairs). float32, 128 dimensions, 4 images a class where nothing else is said.",
        "",
    ]
    names = [n for n in measured[-1]["cases"] if not n.startswith(PEER)]
    head = ["", *(f"B={m['batch']:,}" for m in measured)]
    rows = []
    for name in names:
        rows.append([name, *(cell(m["cases"].get(name)) for m in measured)])
        if any(PEER + name in m["cases"] for m in measured):
            peers = [f"{PEER}{name}", *(cell(m["cases"].get(PEER + name)) for m in measured)]
            rows.append([f"*{part}*" if i == 0 else part for i, part in enumerate(peers)])
    at = f"B={large['batch']:,}"
    closing = (
        f"hard-triplet + triplet at {at}: {large['seconds']:.1f} s, {large['peak_mb']:,.0f} MB "
        "above the batch. A dash: it failed, or took over a minute on a smaller batch."
    )
    return [*lines, *table(head, rows), "", closing, ""]


def cell(case: Mapping[str, Any] | None) -> str:
    """12.3 ms, 45 MB [1.1 x, 1.0-1.2]"""
    if case is None:
        return "-"
    median = case["ms"]["median"]
    text = f"{median:,.0f} ms" if median >= 10 else f"{median:.1f} ms"
    text += f", {case['peak_mb']:,.0f} MB"
    ratios = [v for k, v in case.items() if k.startswith("over ") and k != "over PML"]
    for ratio in ratios:
        text += f" [{ratio['median']:.2f} x, {ratio['min']:.2f}-{ratio['max']:.2f}]"
    return text


if __name__ == "__main__":
    main()
