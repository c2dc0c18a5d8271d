"""Images a second of fine-tuning on photographs: this loop beside timm, a DataLoader and PML.

    python -m benchmarks.speed.finetuning --photos DIR [--turns 3] [--steps 12] [--write]

DIR has a folder of JPEGs for each class. EfficientNet-Lite0 at 224 x 224 pixels and a linear head
to 512 dimensions, batches of 16 classes x 4 images, random crops and flips, multi-similarity and
its miner, AdamW, on the CPU. Each row is a process of its own, all rows in turn, and the ratios are
those of one turn. What ends an epoch is in none of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.sections import in_a_process, machine, table, write_section
from benchmarks.speed.plain_loop import Step, for_ever, plain_step
from benchmarks.speed.stopwatch import Stopwatch

CLASSES, EACH, SIDE, DIM, WARM_UP = 16, 4, 224, 512, 2
BATCH = CLASSES * EACH
PEER = "timm, a DataLoader and PML"
OURS: dict[str, dict[str, Any]] = {
    "ours, as it comes": {},
    "ours, the last 6 blocks": {"adapters": ("last-blocks:n=6",)},
}
Timed = dict[str, float]


def main() -> None:
    """Run all rows in turn, and print or write the section; or, for a row, time it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(timed(options.row, options.photos, options.steps)))
        return
    rows = [PEER, *OURS]
    turns = [{row: _apart(row, options) for row in rows} for _ in range(options.turns)]
    lines = section(turns, options)
    print("\n".join(lines))
    if options.write:
        write_section("finetuning", lines)


def section(turns: list[dict[str, Timed]], options: argparse.Namespace) -> list[str]:
    """The table: images a second, the ratio to the peer, the fraction of the time on images."""

    def cell(values: Iterable[float], form: str) -> str:
        ordered = sorted(values)
        median = statistics.median(ordered)
        return f"{median:{form}} [{ordered[0]:{form}}-{ordered[-1]:{form}}]"

    rows = [
        [
            name,
            cell((turn[name]["rate"] for turn in turns), ".1f"),
            cell((turn[name]["rate"] / turn[PEER]["rate"] for turn in turns), ".2f"),
            cell((turn[name]["images"] for turn in turns), ".1%"),
        ]
        for name in turns[0]
    ]
    return [
        "## Fine-tuning",
        "",
        "`python -m benchmarks.speed.finetuning --photos DIR "
        f"--turns {options.turns} --steps {options.steps} --write` on {machine()}. "
        "EfficientNet-Lite0 at 224 x 224 pixels, batches of 64 photographs, random crops and "
        "flips, multi-similarity; images a second through decoding, augmentation, forward, mining, "
        "backward and step. Median and range over the turns. Half of the plain loop's time goes to "
        "the kernel, which gives and takes back the memory of each layer; metricforge keeps it.",
        "",
        *table(["", "images/s", "x the plain loop", "of a step: awaiting and augmenting"], rows),
    ]


def timed(row: str, photos: str, steps: int) -> Timed:
    """Images a second, and the fraction of the time on images, after steps that are not counted."""
    watch = Stopwatch()
    step = _ours(photos, watch, **OURS[row]) if row in OURS else _peer(photos, watch)
    for _ in range(WARM_UP):
        step()
    watch.seconds = 0.0
    began = time.perf_counter()
    for _ in range(steps):
        step()
    spent = time.perf_counter() - began
    return {"rate": BATCH * steps / spent, "images": watch.seconds / spent}


def _ours(photos: str, watch: Stopwatch, **options: Any) -> Step:
    from metricforge.recipes.recipe import Recipe
    from metricforge.registry import Registry
    from metricforge.runs.build import assemble
    from metricforge.training import loop
    from metricforge.training.augmentation import Chain
    from metricforge.training.loop import StepRecord, TrainState, fit

    recipe = Recipe(
        dataset=f"folder:path={photos}", backbone="efficientnet-lite0", device="cpu",
        sampler=f"multi-similarity:classes={CLASSES},per_class={EACH}", epochs=1_000, dim=DIM,
        augment=("crop", "flip"), **options,
    )  # fmt: skip
    ahead = loop.read_ahead
    loop.read_ahead = lambda *given: watch.awaited(ahead(*given))  # type: ignore[assignment]
    Chain.__call__ = watch.wrap(Chain.__call__)  # type: ignore[method-assign]
    assembly = assemble(recipe, Registry.installed())
    records = fit(assembly.setup, TrainState(), assembly.runtime)
    steps = (record for record in records if isinstance(record, StepRecord))
    return lambda: next(steps)


class Network(nn.Module):
    """timm's network, and a linear head to as many dimensions as ours has."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        # The weights have no influence on the speed.
        self.features = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
        self.head = nn.Linear(self.features.num_features, DIM)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.head(self.features(images)))


def _peer(photos: str, watch: Stopwatch) -> Step:
    from pytorch_metric_learning.losses import MultiSimilarityLoss
    from pytorch_metric_learning.miners import MultiSimilarityMiner
    from pytorch_metric_learning.samplers import MPerClassSampler

    shown = v2.Compose([
        v2.RandomResizedCrop(SIDE, scale=(0.5, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([127 / 255] * 3, [128 / 255] * 3),
    ])  # fmt: skip
    dataset = ImageFolder(photos, shown)
    sampler = MPerClassSampler(dataset.targets, EACH, BATCH, len(dataset))
    loader = DataLoader(dataset, BATCH, sampler=sampler, num_workers=2, persistent_workers=True)
    batches = watch.awaited(for_ever(loader))
    network = Network().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    return plain_step(batches, network, MultiSimilarityMiner(), MultiSimilarityLoss(), optimizer)


def _apart(row: str, options: argparse.Namespace) -> Timed:
    """A row's figures, in a process of its own."""
    given = ("--photos", options.photos, "--steps", str(options.steps), "--row", row)
    found: Timed = in_a_process("benchmarks.speed.finetuning", *given)
    return found


if __name__ == "__main__":
    main()
