"""A million vectors in a file: what a batch of them costs, and the memory of a training on them.

    python -m benchmarks.speed.vectors [--vectors 1000000] [--length 768] [--rounds 5] [--write]

The vectors are made here, in a .npy file. The floor is numpy's own copy of the same rows of the
mapped file; the peer is torch's DataLoader over a Dataset of it. All see the same rows in the same
order, 128 a batch, by turns in one run. Then the command trains on them; its own memory is reported
apart from the pages of the file, which the system may take back at any time.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from metricforge_standard.datasets.vectors import vectors
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.sections import machine, table, write_section
from benchmarks.speed.files import seconds_of
from metricforge.data.images import open_images
from metricforge.data.prefetch import read_ahead

BATCH, CLASSES, TAKEN = 128, 20_000, 100_000


def main() -> None:
    """Make the file, measure, and print or write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--length", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        spec = make(Path(place), options.vectors, options.length)
        rates = [by_turns(Path(place)) for _ in range(options.rounds)]
        seconds, own, most = trained(Path(place), spec)
    lines = section(options, rates, seconds, own, most)
    print("\n".join(lines))
    if options.write:
        write_section("vectors", lines)


def make(place: Path, count: int, length: int) -> str:
    """Write vectors around the centres of their classes; the spec of their dataset."""
    rng = np.random.default_rng(0)
    path = place / "vectors.npy"
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (count, length))
    centres = rng.standard_normal((CLASSES, length), dtype=np.float32)
    labels = rng.integers(0, CLASSES, count)
    for part in np.array_split(np.arange(count), max(1, count // 50_000)):
        noise = rng.standard_normal((len(part), length), dtype=np.float32)
        rows[part] = centres[labels[part]] + 1.5 * noise
    rows.flush()
    np.save(place / "labels.npy", labels)
    return f"vectors:path={path},labels={place / 'labels.npy'}"


class Rows(Dataset[Tensor]):
    """What a user of torch writes."""

    def __init__(self, path: Path) -> None:
        self._rows = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self._rows[index].copy())


def by_turns(place: Path) -> tuple[float, float, float]:
    """Vectors a second in batches: ours, numpy's copy, the DataLoader's."""
    dataset = vectors(path=place / "vectors.npy", labels=place / "labels.npy")
    images = open_images(dataset)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:TAKEN]
    mapped = np.load(place / "vectors.npy", mmap_mode="r")

    def copied() -> Iterator[Any]:
        for part in order.split(BATCH):
            yield mapped[part.numpy()]

    peer = DataLoader(Rows(place / "vectors.npy"), BATCH, sampler=order.tolist(), num_workers=2)
    ways: tuple[Callable[[], Iterable[Any]], ...] = (
        lambda: read_ahead(images, order.split(BATCH)),
        copied,
        lambda: peer,
    )
    ours, floor, theirs = (len(order) / seconds_of(way) for way in ways)
    return ours, floor, theirs


def trained(place: Path, spec: str) -> tuple[float, float, float]:
    """Seconds of a training on 200,000 vectors; its memory in MiB: its own, and all of it."""
    words = [
        "train", "--dataset", spec, "--split", "random:validation=0.01,test=0.01",
        "--images", "200000", "--no-test", "--out", str(place / "run"), "--quiet",
    ]  # fmt: skip
    began, own, most = time.perf_counter(), 0, 0
    with subprocess.Popen([sys.executable, "-m", "metricforge", *words]) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            own = max(own, *_kilobytes(status, "RssAnon"))
            most = max(most, *_kilobytes(status, "VmHWM"))
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"the training failed: {process.returncode}")
    return time.perf_counter() - began, own / 2**10, most / 2**10


def _kilobytes(status: str, name: str) -> list[int]:
    """A value of /proc/PID/status; none of a process that has just ended."""
    return [int(found) for found in re.findall(rf"{name}:\s+(\d+)", status)] or [0]


def section(
    options: argparse.Namespace,
    rates: list[tuple[float, float, float]],
    seconds: float,
    own: float,
    most: float,
) -> list[str]:
    """The section of RESULTS.md."""
    ours, floor, theirs = (sorted(column) for column in zip(*rates, strict=True))
    ways = {"metricforge": ours, "numpy's copy": floor, "DataLoader, 2 workers": theirs}
    rows = [
        [name, *(f"{each:,.0f}" for each in (column[0], statistics.median(column), column[-1]))]
        for name, column in ways.items()
    ]
    held = options.vectors * options.length * 4 / 2**20
    ratios = [f"{a / b:.2f}" for a, b in (
        (statistics.median(ours), statistics.median(floor)),
        (statistics.median(ours), statistics.median(theirs)),
    )]  # fmt: skip
    return [
        f"{options.vectors:,} vectors of {options.length} numbers in a .npy file of {held:,.0f} "
        f"MiB; {TAKEN:,} of them in batches of {BATCH}, in random order. {machine()}",
        "",
        *table(["vectors/s", "lowest", "median", "highest"], rows),
        "",
        f"Medians: {ratios[0]} x numpy's copy, {ratios[1]} x the DataLoader. `metricforge train` "
        f"on 200,000 of the vectors took {seconds:.0f} s, start and validation included, and "
        f"{own:,.0f} MiB of its own memory ({most:,.0f} MiB with the mapped pages of the file).",
    ]


if __name__ == "__main__":
    main()
