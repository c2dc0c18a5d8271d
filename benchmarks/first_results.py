"""Runs the commands below and writes what they measured into RESULTS.md, with a picture.

    python benchmarks/first_results.py --data-root DIR [--only NAME ...]

DIR holds MNIST and Omniglot in torchvision's layout. About half an hour on two CPU cores.
Finished runs in runs/first-results are taken as they are, so that a stopped call goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "first-results"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"

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
        if not (RUNS / name / "report.html").is_file():
            train(name, options.data_root)
    RESULTS.write_text("\n".join(report(name for name in COMMANDS if finished(name))) + "\n")
    for name, picture in PICTURES.items():
        if finished(name):
            shutil.copy(RUNS / name / "plots" / "test.png", ROOT / "docs" / picture)


def train(name: str, data_root: str) -> None:
    """One command, as a user would run it."""
    words = [sys.executable, "-m", "metricforge", "train", *shlex.split(COMMANDS[name])]
    out = str(RUNS / name)
    subprocess.run([*words, "--data-root", data_root, "--out", out, "--overwrite"], check=True)


def finished(name: str) -> bool:
    """Whether the run came to its end."""
    return (RUNS / name / "report.html").is_file()


def report(names: Iterable[str]) -> list[str]:
    """RESULTS.md: a section a run."""
    lines = [
        "# Results",
        "",
        "Made by `python benchmarks/first_results.py --data-root DIR`; one seed (0) each, 95 % "
        "intervals in brackets (over classes where there are ten or more, else over the "
        "queries of the few; accuracy over 1,000 episodes). Timings are of a shared machine.",
    ]
    for name in names:
        run = RUNS / name
        summary = json.loads((run / "summary.json").read_text())
        environment = json.loads((run / "env.json").read_text())
        lines += ["", f"## {name}", "", *section(name, summary, environment)]
    return lines


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


def cell(estimate: dict[str, Any]) -> str:
    """0.912 [0.900, 0.924]"""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


if __name__ == "__main__":
    main()
