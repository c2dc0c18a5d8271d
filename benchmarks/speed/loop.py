"""Where a training step's time goes: the network, or the loop around it.

    python benchmarks/speed/loop.py --data-root DIR [--steps 100] [--repeats 5]

MNIST, lenet-prelu, hard-triplet with batches of 250 (10 classes x 25). A step of our loop is
timed beside the network alone (forward, backward and optimiser on one fixed batch), in turns,
so that a busy machine slows both. Prints the share of a step that is not the network, as
median, minimum and maximum over the repeats.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time

import torch

from metricforge.registry import Registry
from metricforge.runs.assembly import Assembly, assemble
from metricforge.runs.recipe import Recipe
from metricforge.training.loop import Position, StepRecord, fit


def main() -> None:
    """Time both in turns and print the shares as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    recipe = Recipe(
        dataset="mnist", split="official", backbone="lenet-prelu", data_root=options.data_root,
        sampler="hard-triplet:classes=10,per_class=25", epochs=1_000,
    )  # fmt: skip
    assembly = assemble(recipe, Registry.installed())
    steps = (r for r in fit(assembly.task, Position(), assembly.runtime)
             if isinstance(r, StepRecord))  # fmt: skip
    timed = [measure(assembly, steps, options.steps) for _ in range(options.repeats + 1)][1:]
    shares = sorted(1 - network / loop for loop, network in timed)
    speeds = sorted(250 / loop for loop, _ in timed)
    print(json.dumps({
        "share_outside_network": spread(shares),
        "images_per_second": spread(speeds),
        "threads": torch.get_num_threads(),
        "steps": options.steps,
    }, indent=1))  # fmt: skip


def measure(assembly: Assembly, steps: object, count: int) -> tuple[float, float]:
    """Seconds a step of the loop, and of the network alone, over `count` steps each."""
    began = time.perf_counter()
    for _ in itertools.islice(steps, count):  # type: ignore[call-overload]
        pass
    loop = (time.perf_counter() - began) / count
    return loop, network_alone(assembly, count)


def network_alone(assembly: Assembly, count: int) -> float:
    """Seconds a step of forward, backward and optimiser, with a loss that costs nothing."""
    task, runtime = assembly.task, assembly.runtime
    images = runtime.prepare(task.images.take(task.train[:250]))
    weights = torch.randn(250, assembly.recipe.dim)
    began = time.perf_counter()
    for _ in range(count):
        loss = (task.model(images) * weights).sum()
        task.optimizer.zero_grad(set_to_none=True)
        # Nothing is learnt from it: a step of size zero costs what any step costs.
        for group in task.optimizer.param_groups:
            group["lr"] = 0.0
        loss.backward()
        task.optimizer.step()
    return (time.perf_counter() - began) / count


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(values[0], 4),
        "max": round(values[-1], 4),
    }


if __name__ == "__main__":
    main()
