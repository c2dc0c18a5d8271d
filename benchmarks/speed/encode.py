"""Embedding image files with a trained network, beside timm's own inference loop.

    python -m benchmarks.speed.encode [--photos ZIP] [--images 2000] [--rounds 5] [--write]

Birds of 160 pixels are embedded from their JPEG files by `EmbeddingModel.encode`, which is what
`metricforge encode`, `index` and `search` call, and by timm's loader (`create_loader`, workers for
all cores) in front of the same network, by turns, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch
from timm.data import ImageDataset, create_loader

from benchmarks.sections import ROOT, in_a_process, machine, table, write_section
from metricforge.loading import build
from metricforge.model import EmbeddingModel
from metricforge.model_card import Card
from metricforge.registry import Registry

BATCH = 64
PHOTOS = ROOT / "data" / "photos" / "cub200-2010-160px.zip"
NETWORKS = (("resnet18", 64), ("tf_efficientnet_lite0", 64), ("tf_efficientnet_lite0", 128))
"""timm's names of networks, and the side of the images that they get."""


def main() -> None:
    """Measure, and print or write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", nargs=4, metavar=("LOOP", "NETWORK", "SIDE", "FOLDER"))
    options = parser.parse_args()
    if options.only:
        loop, network, side, folder = options.only
        print(json.dumps(LOOPS[loop](network, int(side), Path(folder))))
        return
    with TemporaryDirectory() as place:
        folder = unpacked(options.photos, Path(place), options.images)
        measured = {
            (network, side): [by_turns(network, side, folder) for _ in range(options.rounds)]
            for network, side in NETWORKS
        }
    lines = section(options, measured)
    print("\n".join(lines))
    if options.write:
        write_section("encode", lines)


def unpacked(photos: Path, folder: Path, count: int) -> Path:
    """The first images of the zip, in folders."""
    with zipfile.ZipFile(photos) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        archive.extractall(folder, sorted(names)[:count])
    return folder


def by_turns(network: str, side: int, folder: Path) -> tuple[float, float]:
    """Images a second: ours, and timm's."""
    ours, theirs = (
        in_a_process("benchmarks.speed.encode", "--only", loop, network, str(side), str(folder))
        for loop in LOOPS
    )
    return ours, theirs


def files_in(folder: Path) -> list[Path]:
    """All images of a folder, in order."""
    return sorted(folder.rglob("*.jpg"))


def ours(network: str, side: int, folder: Path) -> float:
    """Images a second by `encode`."""
    files = files_in(folder)
    spec = f"timm:model={network},pretrained=false,size={side}"
    card = Card(spec, "linear", 64, (3, side, side), (0.5,) * 3, (0.5,) * 3)
    model: EmbeddingModel = build(Registry.installed(), card, None, None).eval()
    model.encode(files[:BATCH], BATCH)
    began = time.perf_counter()
    rows = model.encode(files, BATCH)
    seconds = time.perf_counter() - began
    assert len(rows) == len(files)
    return len(files) / seconds


def theirs(network: str, side: int, folder: Path) -> float:
    """Images a second by timm's loader and its network without the last layer."""
    model = timm.create_model(network, pretrained=False, num_classes=0).eval()
    loader = create_loader(
        ImageDataset(str(folder)),
        (3, side, side),
        BATCH,
        use_prefetcher=False,
        num_workers=os.cpu_count() or 1,
        persistent_workers=True,
        interpolation="bicubic",
        crop_pct=1.0,
    )
    count = 0
    with torch.inference_mode():
        model(torch.zeros(BATCH, 3, side, side))
        began = time.perf_counter()
        for images, _ in loader:
            count += len(model(images))
    return count / (time.perf_counter() - began)


LOOPS: dict[str, Callable[[str, int, Path], float]] = {"ours": ours, "timm": theirs}


def section(
    options: argparse.Namespace,
    measured: dict[tuple[str, int], Sequence[tuple[float, float]]],
) -> list[str]:
    """The section of RESULTS.md."""
    rows = [
        [
            f"{network}, {side} pixels",
            *(f"{statistics.median(each):,.0f}" for each in zip(*turns, strict=True)),
            ratio([ours / theirs for ours, theirs in turns]),
        ]
        for (network, side), turns in measured.items()
    ]
    return [
        "## Embedding files",
        "",
        f"Made by `python -m benchmarks.speed.encode --images {options.images} --write`: "
        f"{options.images:,} JPEGs of 160 pixels, batches of {BATCH}, each loop in a process of "
        f"its own; medians, and the ratio's median [least, most], of {options.rounds} turns. "
        f"{machine()}.",
        "",
        *table(["network", "encode, images a second", "timm's loader", "ratio"], rows),
    ]


def ratio(values: Sequence[float]) -> str:
    """Median [least, most]."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    main()
