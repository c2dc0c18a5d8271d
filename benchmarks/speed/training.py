"""Images a second through whole training steps: this loop, a plain PML loop, the MNIST example's.

    python -m benchmarks.speed.training --data-root DIR [--turns 3] [--steps 100] [--write]

MNIST, the example's network, batches of 250 (10 classes x 25), hardest tuples of each batch, Adam,
on the CPU. Each row is a process of its own, all rows in turn, and the ratios are those of one
turn. What ends an epoch is in none of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from benchmarks.sections import in_a_process, machine, table, write_section
from benchmarks.speed.plain_loop import Step, for_ever, plain_step

BATCH, EACH, WARM_UP = 250, 25, 20
OURS: dict[str, dict[str, Any]] = {
    "ours, as it comes": {},
    "ours, pooling first": {"backbone": "lenet-prelu:pool_first=true"},
    "ours, pooling first, bf16": {
        "backbone": "lenet-prelu:pool_first=true", "precision": "bf16"
    },
    "ours, pooling first, compiled": {
        "backbone": "lenet-prelu:pool_first=true", "compile": True
    },
}  # fmt: skip
EXAMPLE, PML, PML_WORKERS = "the example's loop", "PML and a DataLoader", "the same, two workers"


def main() -> None:
    """Run all rows in turn, and print or write the section; or, for a row, time it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(timed(steps_of(options.row, options.data_root), options.steps)))
        return
    rows = [EXAMPLE, PML, PML_WORKERS, *OURS]
    turns = [{row: _apart(row, options) for row in rows} for _ in range(options.turns)]
    lines = section(turns, options)
    print("\n".join(lines))
    if options.write:
        write_section("loop", lines)


def section(turns: list[dict[str, float]], options: argparse.Namespace) -> list[str]:
    """The table: images a second, and the ratios to the loops of others."""

    def cell(values: list[float], form: str) -> str:
        low, high = min(values), max(values)
        return f"{statistics.median(values):{form}} [{low:{form}}-{high:{form}}]"

    rows = [
        [
            name,
            cell([turn[name] for turn in turns], ",.0f"),
            cell([turn[name] / turn[PML] for turn in turns], ".2f"),
            cell([turn[name] / turn[EXAMPLE] for turn in turns], ".2f"),
        ]
        for name in turns[0]
    ]
    return [
        "## Training steps",
        "",
        f"`python -m benchmarks.speed.training --data-root DIR --turns {options.turns} --write` on "
        f"{machine()}. MNIST, lenet-prelu, batches of 250 with their hardest tuples; images a "
        "second through data, forward, mining, backward and step. Median and range over the turns.",
        "",
        *table(["", "images/s", "x the PML loop", "x the example's"], rows),
    ]


def steps_of(row: str, root: str) -> Step:
    """What takes the next step of a row."""
    if row in OURS:
        return _ours(root, **OURS[row])
    dataset = MNIST(root, transform=transforms.Compose([
        transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,)),
    ]))  # fmt: skip
    sampler = MPerClassSampler(dataset.targets, EACH, BATCH, len(dataset))
    workers = 2 if row == PML_WORKERS else 0
    loader = DataLoader(
        dataset, BATCH, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
    )
    batches = for_ever(loader)
    return _examples(batches) if row == EXAMPLE else _pml(batches)


def timed(step: Step, steps: int) -> float:
    """Images a second, after some steps that are not counted."""
    for _ in range(WARM_UP):
        step()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return BATCH * steps / (time.perf_counter() - began)


def _ours(root: str, **options: Any) -> Step:
    from metricforge.recipes.recipe import Recipe
    from metricforge.registry import Registry
    from metricforge.runs.build import assemble
    from metricforge.training.loop import StepRecord, TrainState, fit

    given = {"backbone": "lenet-prelu", **options}
    recipe = Recipe(
        dataset="mnist", split="official", data_root=root, device="cpu", epochs=1_000,
        sampler=f"hard-triplet:classes=10,per_class={EACH}", **given,
    )  # fmt: skip
    assembly = assemble(recipe, Registry.installed())
    records = fit(assembly.setup, TrainState(), assembly.runtime)
    steps = (record for record in records if isinstance(record, StepRecord))
    return lambda: next(steps)


class Network(nn.Module):
    """The example's network, and a linear head to as many dimensions as ours has."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 5), nn.PReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5), nn.PReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(64 * 4 * 4, 256), nn.PReLU(), nn.Linear(256, 256), nn.PReLU(),
            nn.Linear(256, 64),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.layers(images))


def _pml(batches: Iterator[Any]) -> Step:
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    return plain_step(batches, network, BatchHardMiner(), TripletMarginLoss(margin=0.2), optimizer)


def _examples(batches: Iterator[Any]) -> Step:
    """Online triplets as the MNIST example finds them: pair by pair, its hardest negative."""
    network, margin = Network(), 1.0
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step() -> None:
        images, labels = next(batches)
        optimizer.zero_grad()
        embeddings = network(images)
        chosen = _hardest(embeddings.detach(), labels.numpy(), margin)
        anchor, positive, negative = (embeddings[part] for part in chosen)
        near, far = (anchor - positive).square().sum(1), (anchor - negative).square().sum(1)
        value = F.relu(near - far + margin).mean()
        value.backward()
        optimizer.step()
        value.item()

    return step


def _hardest(embeddings: Tensor, labels: Any, margin: float) -> Tensor:
    """For each pair of a class the negative that violates the margin most: int64 [3, T].

    As the example does it: the distances of each pair are taken out of a tensor by an index.
    """
    distances = torch.cdist(embeddings, embeddings).square()
    found = []
    for label in set(labels.tolist()):
        mine, others = np.where(labels == label)[0], np.where(labels != label)[0]
        for anchor, positive in itertools.combinations(mine, 2):
            negatives = distances[torch.tensor([anchor]), torch.from_numpy(others)]
            loss = (distances[anchor, positive] - negatives + margin).numpy()
            hardest = int(np.argmax(loss))
            if loss[hardest] > 0:
                found.append((anchor, positive, others[hardest]))
    return torch.tensor(np.array(found or [(0, 0, 1)])).T


def _apart(row: str, options: argparse.Namespace) -> float:
    """A row's images a second, in a process of its own."""
    given = ("--data-root", options.data_root, "--steps", str(options.steps), "--row", row)
    found: float = in_a_process("benchmarks.speed.training", *given)
    return found


if __name__ == "__main__":
    main()
