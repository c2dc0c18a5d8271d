"""Runs the commands below and writes what they measured into RESULTS.md, with a picture.

    python -m benchmarks.first_results --data-root DIR [--only NAME ...]

DIR holds MNIST and Omniglot in torchvision's layout. About half an hour on two CPU cores.
Finished runs in runs/first-results are taken as they are, so that a stopped call goes on.
"""

from __future__ import annotations

import argparse
import platform
import shutil
from collections.abc import Iterable
from typing import Any

from benchmarks.sections import ROOT, Runs, cell, write_section

RUNS = Runs("first-results")

CLOSED = "--dataset mnist --split official --dim 2 --backbone lenet-prelu --epochs 3 --sampler"
HELD_OUT = "--dataset mnist --split classes:train=0-4,validation=5-6,test=7-9 --epochs 1 --sampler"
COMMANDS = {
    "digits": "--sampler hard-triplet",
    "mnist-2d-random-pairs": f"{CLOSED} random-pairs",
    "mnist-2d-random-triplets": f"{CLOSED} random-triplets",
    # Two dimensions leave no way round a wrong neighbour: easier triplets, smaller steps.
    "mnist-2d-hard-triplet": f"{CLOSED} hard-triplet --loss triplet:margin=0,soft=1 "
    "--optimizer adamw:lr=3e-4",
    "mnist-held-out-balanced": f"{HELD_OUT} balanced",
    "omniglot": "--dataset omniglot --sampler hard-triplet",
}
SHOWN = ("recall@1", "map@r", "accuracy")
PICTURES = {"mnist-2d-random-pairs": "mnist-2d.png"}


def main() -> None:
    """Run what is asked for and not there yet, then write the table of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    for name in options.only:
        RUNS.train(name, COMMANDS[name], options.data_root)
    finished = [name for name in COMMANDS if RUNS.finished(name)]
    write_section("training", report(finished))
    for name, picture in PICTURES.items():
        if name in finished:
            shutil.copy(RUNS.folder(name) / "plots" / "test.png", ROOT / "docs" / picture)


def report(names: Iterable[str]) -> list[str]:
    """The section of RESULTS.md: a part for each run."""
    lines = [
        "## First results",
        "",
        "Made by `python -m benchmarks.first_results --data-root DIR`; one seed (0) each, 95 % "
        "intervals in brackets (over classes where there are ten or more, else over the "
        "queries of the few; accuracy over 1,000 episodes). Timings are of a shared machine.",
    ]
    for name in names:
        summary, environment = RUNS.records(name)
        lines += ["", f"### {name}", "", *section(name, summary, environment)]
    return [*lines, ""]


def section(name: str, summary: dict[str, Any], environment: dict[str, Any]) -> list[str]:
    """The command, what was held out, on what machine, and the table."""
    classes = summary["test_classes"]
    tested = f"{len(classes)} classes" if len(classes) > 10 else ", ".join(classes)
    kind = "closed set: test images of" if summary["closed_set"] else "held-out classes:"
    versions = environment["versions"]
    results = summary["results"]
    rows = [key for key in results["trained"] if key.startswith(SHOWN)]
    return [
        f"`metricforge train {COMMANDS[name]}`",
        "",
        f"{kind} {tested} ({summary['test_images']:,} images). Epoch "
        f"{summary['selected_epoch']} of {summary['epochs']}, {summary['seconds']:.0f} s of "
        f"training on {environment['threads']} CPU threads ({platform.machine()}), torch "
        f"{versions['torch']}, Python {environment['python']}.",
        "",
        "| | " + " | ".join(results) + " |",
        "|---|" + "---|" * len(results),
        *(f"| {row} | " + " | ".join(cell(found[row]) for found in results.values()) + " |"
          for row in rows),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
