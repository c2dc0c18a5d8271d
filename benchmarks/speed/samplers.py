"""What a sampler costs an index: P x K batches of a whole epoch, beside torch's and the peers'.

    python -m benchmarks.speed.samplers [--images 1000000 10000000] [--repeats 3] [--write]

Drawing all batches of an epoch, building not counted, with 10 classes and with a class for every
20 images. torch's RandomSampler and pytorch-metric-learning's MPerClassSampler are timed in the
same run; a peer over a minute is timed on fewer images, which is said. Peak bytes are those that
numpy and torch allocate, an image. `--write` puts the table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor
from torch.utils.data import RandomSampler

from benchmarks.sections import machine, table, write_section
from metricforge.registry import Registry
from metricforge.spec import Spec

OURS = (
    "hard-triplet:classes=10,per_class=16",
    "hard-triplet:classes=10,per_class=4",
    "random-pairs",
    "random-triplets",
)
PEER_IMAGES = 100_000


def main() -> None:
    """Measure, print as JSON, and write the table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", nargs="*", type=int, default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    measured = [
        {"images": images, "classes": classes, "ns_per_index": measure(images, classes, options)}
        for images in options.images
        for classes in (10, images // 20)
    ]
    print(json.dumps({"machine": machine(), "measured": measured}, indent=1))
    if options.write:
        write_section("sampling", report(measured))


def measure(images: int, classes: int, options: argparse.Namespace) -> dict[str, Any]:
    """Nanoseconds an index of each sampler, and the bytes an image that ours allocates."""
    labels = torch.from_numpy(np.random.default_rng(0).permutation(images) % classes)
    found: dict[str, Any] = {}
    registry = Registry.installed()
    for spec in OURS:
        sampler = registry.build("sampler", Spec.parse(spec), {"labels": labels, "groups": None})
        rng = np.random.default_rng(0)
        found[spec] = timed(lambda s=sampler, r=rng: s.epoch(r), options.repeats)  # type: ignore[misc]
        found[spec]["bytes_an_image"] = peak(lambda s=sampler, r=rng: s.epoch(r)) / images  # type: ignore[misc]
    found["torch RandomSampler"] = timed(lambda: RandomSampler(range(images)), 1)
    few = labels[:PEER_IMAGES]
    name = f"PML MPerClassSampler, {PEER_IMAGES:,} images"
    found[name] = timed(lambda: MPerClassSampler(few, 4, length_before_new_iter=len(few)), 1)
    return found


def timed(epoch: Callable[[], Iterable[Any]], repeats: int) -> dict[str, float]:
    """Nanoseconds an index: median, minimum and maximum."""
    values = []
    for _ in range(repeats):
        began, count = time.perf_counter(), 0
        for batch in epoch():
            count += len(batch) if isinstance(batch, Tensor) else 1
        values.append((time.perf_counter() - began) / count * 1e9)
    return {
        "median": round(statistics.median(values), 1),
        "min": round(min(values), 1),
        "max": round(max(values), 1),
    }


def peak(epoch: Callable[[], Iterable[Any]]) -> float:
    """Bytes at the highest while an epoch's batches are drawn and let go, by numpy's account."""
    tracemalloc.start()
    for _ in epoch():
        pass
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest


def report(measured: list[dict[str, Any]]) -> list[str]:
    """The section of RESULTS.md."""
    head = ["", *(f"{m['images']:,} images, {m['classes']:,} classes" for m in measured)]
    rows = [
        [f"`{name}`" if name in OURS else name, *(cell(m["ns_per_index"][name]) for m in measured)]
        for name in measured[0]["ns_per_index"]
    ]
    return [
        "## Samplers",
        "",
        f"`python -m benchmarks.speed.samplers --write` on {machine()}. Nanoseconds an index for "
        "an epoch's batches (median, range), and the bytes an image that drawing them takes at "
        "the highest.",
        "",
        *table(head, rows),
        "",
    ]


def cell(case: dict[str, float]) -> str:
    """60 (58-65), 45 bytes"""
    text = f"{case['median']:,.0f} ({case['min']:,.0f}-{case['max']:,.0f})"
    return text + (f", {case['bytes_an_image']:.0f} bytes" if "bytes_an_image" in case else "")


if __name__ == "__main__":
    main()
