"""Images in files: how fast they are decoded, whether the network waits, a million of them.

    python -m benchmarks.speed.files [--images 5000] [--million 1000000] [--rounds 3] [--write]

5,000 JPEGs of 224 pixels, made here, are read in batches of 64 at 64 pixels beside torchvision's
ImageFolder with a DataLoader of two workers (Resize, ToTensor's bytes), by turns in one run. Then
the real loop trains conv4 on them, and the time that it waits for images is told beside that of
the same network fed by the DataLoader. The million are links to a few files: what is measured is
listing, splitting and the fingerprint, each start in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from metricforge_standard.datasets.folder import folder
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.sections import machine, table, write_section
from benchmarks.speed.stopwatch import Stopwatch
from metricforge.data.images import FileImages
from metricforge.data.prefetch import read_ahead
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import assemble
from metricforge.training import loop
from metricforge.training.loop import TrainState, fit

BATCH, SIZE, SIDE, CLASSES = 64, 64, 224, 50

START = """
import json, re, sys, time
from pathlib import Path
from metricforge_standard.datasets.folder import folder
from metricforge.data.images import fingerprint, open_images
from metricforge.data.split import split_dataset
def peak():
    # Not getrusage, which after a fork begins with the peak of the parent.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 2**10
before, began = peak(), time.perf_counter()
dataset = folder(path=Path(sys.argv[1]), index=Path(sys.argv[2]) if sys.argv[2] else None)
listed = time.perf_counter()
split_dataset(dataset)
open_images(dataset, memory_limit=0)
fingerprint(dataset)
done = time.perf_counter()
print(json.dumps({"listing": listed - began, "all": done - began, "peak": peak(),
                  "more": peak() - before}))
"""


def main() -> None:
    """Make the files, measure, and print or write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        photos = make_photos(Path(place) / "photos", options.images)
        read = [by_turns(photos) for _ in range(options.rounds)]
        waited = [waiting(photos) for _ in range(options.rounds)]
        starts = million(Path(place) / "many", options.million)
    lines = section(options, read, waited, starts)
    print("\n".join(lines))
    if options.write:
        write_section("files", lines)


def make_photos(root: Path, count: int) -> Path:
    """Smooth noise with grain, of the size on disk that a photograph of 224 pixels has."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = root / f"class{number % CLASSES:02}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-20, 21, (SIDE, SIDE, 1), dtype=np.int16)
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return root


def by_turns(photos: Path) -> tuple[float, float]:
    """Images a second that come in batches: ours, and the DataLoader's."""
    dataset = folder(path=photos, size=SIZE)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    files = FileImages(dataset.images, dataset.shape)  # type: ignore[arg-type]
    ours = seconds_of(lambda: read_ahead(files, order.split(BATCH)))
    theirs = seconds_of(lambda: loader(photos))
    return len(dataset) / ours, len(dataset) / theirs


def loader(photos: Path) -> Iterable[Any]:
    """What a user of torchvision writes; bytes, so that no float conversion counts against it."""
    to_bytes = v2.Compose([v2.PILToTensor()])
    shrunk = v2.Compose([v2.Resize((SIZE, SIZE), antialias=True), to_bytes])
    return DataLoader(ImageFolder(str(photos), shrunk), BATCH, shuffle=True, num_workers=2)


def seconds_of(batches: Callable[[], Iterable[Any]]) -> float:
    """The seconds until all batches have come."""
    began = time.perf_counter()
    for _ in batches():
        pass
    return time.perf_counter() - began


def waiting(photos: Path) -> dict[str, float]:
    """Of an epoch, the share that the network waits for images, and images a second."""
    recipe = Recipe(
        dataset=f"folder:path={photos},size={SIZE}", epochs=1, device="cpu", orientations=1,
        protocols=("retrieval",),
        sampler="hard-triplet:classes=16,per_class=4", split="images:validation=0.1,test=0.1",
    )  # fmt: skip
    # As if they did not fit in memory, which 5,000 of this size do.
    import metricforge.runs.build as module

    opened, ours = module.open_images, Stopwatch()
    ahead = loop.read_ahead
    module.open_images = lambda dataset: opened(dataset, 0)  # type: ignore[assignment]
    try:
        assembly = assemble(recipe, Registry.installed())
        setup = assembly.setup
        object.__setattr__(setup, "validate", lambda model: {"none": 0.0})
        loop.read_ahead = lambda *given: ours.awaited(ahead(*given))  # type: ignore[assignment]
        began = time.perf_counter()
        list(fit(setup, TrainState(), assembly.runtime))
        spent = time.perf_counter() - began
    finally:
        module.open_images, loop.read_ahead = opened, ahead
    theirs, steps = Stopwatch(), 0
    optimizer = torch.optim.AdamW(setup.model.parameters())
    began = time.perf_counter()
    for images, labels in theirs.awaited(loader(photos)):
        # The same network and loss, in batches of whatever classes come.
        embeddings = setup.model(assembly.runtime.prepare(images))
        loss = setup.loss(embeddings, labels, setup.miner(embeddings.detach(), labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += len(labels)
    other = time.perf_counter() - began
    return {
        "ours": ours.seconds / spent,
        "theirs": theirs.seconds / other,
        "ours a second": len(setup.train) / spent,
        "theirs a second": steps / other,
    }


def million(root: Path, count: int) -> dict[str, dict[str, float]]:
    """What a start on `count` files takes: without an index, with a new one, with it there."""
    source = None
    for number in range(count):
        path = root / f"class{number // 100:05}" / f"image{number % 100:03}.jpg"
        if number % 100 == 0:
            path.parent.mkdir(parents=True)
        if number % 50_000 == 0:  # a file has so many links at most
            Image.new("RGB", (SIDE, SIDE), "red").save(path)
            source = path
        else:
            os.link(str(source), path)
    time.sleep(3)  # folders that changed a moment ago are not trusted
    index = str(root.with_name("index"))
    starts = {"no index": "", "a new index": index, "the index": index}
    return {name: _start(root, given) for name, given in starts.items()}


def _start(root: Path, index: str) -> dict[str, float]:
    """What one process measures of its start."""
    words = [sys.executable, "-c", START, str(root), index]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def section(
    options: argparse.Namespace,
    read: list[tuple[float, float]],
    waited: list[dict[str, float]],
    starts: dict[str, dict[str, float]],
) -> list[str]:
    """The section of RESULTS.md."""

    def spread(values: Iterable[float], form: str) -> str:
        low, *_, high = sorted(values)
        return f"{statistics.median([*values]):{form}} [{low:{form}}, {high:{form}}]"

    ratios = [ours / theirs for ours, theirs in read]
    rows = [
        ("decoded alone, images/s", spread([r[0] for r in read], ".0f"),
         spread([r[1] for r in read], ".0f")),
        ("in training conv4, images/s", spread([w["ours a second"] for w in waited], ".0f"),
         spread([w["theirs a second"] for w in waited], ".0f")),
        ("share of that time that the network waits", spread([w["ours"] for w in waited], ".1%"),
         spread([w["theirs"] for w in waited], ".1%")),
    ]  # fmt: skip
    command = f"python -m benchmarks.speed.files --images {options.images} --write"
    return [
        "## Images in files",
        "",
        f"Made by `{command}`: {options.images:,} JPEGs of {SIDE} pixels, to {SIZE}, batches of "
        f"{BATCH}; median [least, most] of {options.rounds} turns. {machine()}.",
        "",
        *table(("", "metricforge", "ImageFolder + DataLoader, 2 workers"), rows),
        "",
        f"Decoded alone, metricforge is {spread(ratios, '.2f')} x as fast.",
        "",
        f"A folder of {options.million:,} files, seconds until it is split and its fingerprint is "
        "known, each in a new process; of the memory, what torch and the libraries take is told "
        "by itself.",
        "",
        *table(
            ("start", "listing", "all", "peak MB", "of which the dataset"),
            [
                (name, f"{s['listing']:.1f} s", f"{s['all']:.1f} s", f"{s['peak']:.0f}",
                 f"{s['more']:.0f}")
                for name, s in starts.items()
            ],
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
