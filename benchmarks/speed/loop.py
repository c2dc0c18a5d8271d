"""Where a training step's time goes: the network, or the loop around it.

    python -m benchmarks.speed.loop --data-root DIR [--steps 100] [--repeats 5]

MNIST, lenet-prelu, hard-triplet with batches of 250 (10 classes x 25), on the CPU. Forward,
backward and optimiser are timed inside the steps of the real loop, so that a busy machine slows
both alike; everything else (batches, seeds, mining, loss, checks, the record) is the share that
is printed, as median, minimum and maximum over the repeats. `--augment SPEC`, which may be
repeated, puts augmentations in; what they take is then told by itself, as a share of the step.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator

import torch

from benchmarks.speed.stopwatch import Stopwatch
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import Assembly, assemble
from metricforge.training.loop import EpochRecord, StepRecord, TrainState, fit

BATCH = 250


def main() -> None:
    """Time both and print the shares as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--augment", action="append", default=[])
    options = parser.parse_args()
    recipe = Recipe(
        dataset="mnist", split="official", backbone="lenet-prelu", data_root=options.data_root,
        sampler="hard-triplet:classes=10,per_class=25", epochs=1_000, device="cpu",
        augment=tuple(options.augment),
    )  # fmt: skip
    assembly = assemble(recipe, Registry.installed())
    network, augmenting = Stopwatch(), Stopwatch()
    time_network(assembly, network)
    if assembly.setup.augment is not None:
        augment = augmenting.wrap(assembly.setup.augment)
        object.__setattr__(assembly.setup, "augment", augment)
    steps = fit(assembly.setup, TrainState(), assembly.runtime)
    # The first repeat warms up the allocator and the caches, and is not counted.
    measure(steps, network, options.steps)
    augmenting.seconds = 0.0
    timed = [measure(steps, network, options.steps) for _ in range(options.repeats)]
    shares = sorted(1 - inside / total for total, inside in timed)
    speeds = sorted(BATCH * options.steps / total for total, _ in timed)
    result = {
        "share_outside_network": spread(shares),
        "share_augmenting": round(augmenting.seconds / sum(total for total, _ in timed), 4),
        "images_per_second": spread(speeds),
        "threads": torch.get_num_threads(),
        "steps": options.steps,
    }
    print(json.dumps(result, indent=1))


def time_network(assembly: Assembly, network: Stopwatch) -> None:
    """Time what the network costs wherever it is called: forward, backward, optimiser."""
    setup = assembly.setup
    setup.model.forward = network.wrap(setup.model.forward)  # type: ignore[method-assign]
    torch.Tensor.backward = network.wrap(torch.Tensor.backward)  # type: ignore[method-assign]
    setup.optimizer.step = network.wrap(setup.optimizer.step)  # type: ignore[method-assign]


def measure(
    records: Iterator[StepRecord | EpochRecord], network: Stopwatch, count: int
) -> tuple[float, float]:
    """Seconds of `count` steps, and of the network in them; what ends an epoch is in neither."""
    total = inside = 0.0
    mark, taken = network.seconds, 0
    for record in records:
        if isinstance(record, StepRecord):
            total += record.seconds
            inside += network.seconds - mark
            taken += 1
        mark = network.seconds
        if taken == count:
            break
    return total, inside


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(values[0], 4),
        "max": round(values[-1], 4),
    }


if __name__ == "__main__":
    main()
