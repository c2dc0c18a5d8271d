"""Memory and time of a step as its batch grows: shown to the network whole, and in chunks.

    python -m benchmarks.speed.chunks [--chunk 64] [--write]

Noise of 64 x 64 pixels, conv4, the hardest triplets of the batch, on the CPU; each row is a process
of its own, and what it takes before its first step does not count.
"""

from __future__ import annotations

import argparse
import json
import resource

import torch

from benchmarks.sections import in_a_process, machine, table, write_section

BATCHES, STEPS, CLASSES = (128, 256, 512, 1024, 2048, 4096), 3, 64
# Beyond, the whole batch takes more than most machines have.
LARGEST_WHOLE = 1024


def main() -> None:
    """Measure each batch in both ways, and print or write the section; or, for one, measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch:
        print(json.dumps(measured(options.batch, None if options.whole else options.chunk)))
        return
    rows = []
    for batch in BATCHES:
        chunked = _apart(batch, options.chunk)
        told = [
            f"{batch:,}",
            "-",
            f"{chunked['mb']:,.0f} MB",
            "-",
            f"{chunked['seconds']:.2f} s",
            "-",
        ]
        if batch <= LARGEST_WHOLE:
            whole = _apart(batch, options.chunk, "--whole")
            told[1], told[3] = f"{whole['mb']:,.0f} MB", f"{whole['seconds']:.2f} s"
            told[5] = f"{chunked['seconds'] / whole['seconds']:.2f}"
        rows.append(told)
    head = ["batch", "whole", f"chunks of {options.chunk}", "whole", "chunks", "ratio of times"]
    lines = [
        "## Batches in chunks",
        "",
        f"`python -m benchmarks.speed.chunks --chunk {options.chunk} --write` on {machine()}. "
        "conv4 on 64 x 64 pixels, hardest triplets; memory above that before the first step, "
        f"and the fastest of {STEPS} steps.",
        "",
        *table(head, rows),
    ]
    print("\n".join(lines))
    if options.write:
        write_section("chunks", lines)


def _apart(batch: int, chunk: int, *words: str) -> dict[str, float]:
    """The same in a process of its own, which has used no memory before."""
    given = ("--batch", str(batch), "--chunk", str(chunk), *words)
    found: dict[str, float] = in_a_process("benchmarks.speed.chunks", *given)
    return found


def measured(batch: int, chunk: int | None) -> dict[str, float]:
    """Megabytes that the steps of a batch take beyond what was there, and seconds of one."""
    from metricforge.contracts import Dataset
    from metricforge.recipes.recipe import Recipe
    from metricforge.registry import Registry
    from metricforge.runs.build import assemble
    from metricforge.training.loop import StepRecord, TrainState, fit

    each = batch // CLASSES
    labels = torch.arange(CLASSES + 8).repeat_interleave(each * STEPS)
    images = torch.randint(0, 256, (len(labels), 1, 64, 64), dtype=torch.uint8)
    names = tuple(f"{number:03}" for number in range(CLASSES + 8))
    recipe = Recipe(
        dataset=Dataset("noise", images, labels, names, (1, 64, 64)),
        split="classes:train=000-063,validation=064-067,test=068-071",
        sampler=f"hard-triplet:classes={CLASSES},per_class={each}", device="cpu", epochs=1,
        batch_norm="frozen", protocols=("retrieval",), chunk=chunk,
    )  # fmt: skip
    assembly = assemble(recipe, Registry.installed())
    before = _peak()
    records = fit(assembly.setup, TrainState(), assembly.runtime)
    seconds = [record.seconds for record in records if isinstance(record, StepRecord)]
    return {"mb": _peak() - before, "seconds": min(seconds)}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
