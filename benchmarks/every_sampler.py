"""Every sampler on Omniglot and MNIST with its defaults: one table, so that they can be compared.

    python -m benchmarks.every_sampler --data-root DIR [--only NAME ...] [--dataset NAME]

One seed each. Omniglot: trained on the background alphabets, tested on characters of the others.
MNIST: trained on digits 0 to 4, tested on 7 to 9. An hour on two CPU cores; finished runs in
runs/every-sampler are taken as they are, so that a stopped call goes on.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.sections import ROOT, machine, table, write_section

RUNS = ROOT / "runs" / "every-sampler"
HELD_OUT = "--dataset mnist --split classes:train=0-4,validation=5-6,test=7-9 --orientations 1"
DATASETS = {
    "omniglot": "--dataset omniglot --epochs 3",
    "mnist": f"{HELD_OUT} --epochs 1",
}
SAMPLERS = (
    "random-pairs", "random-triplets", "hard-triplet", "semihard-triplet", "random-hard-triplet",
    "all-triplets", "hard-pairs", "all-pairs", "easy-positive", "distance-weighted",
    "multi-similarity", "n-hard", "grouped", "episodic", "global-hard",
    "schedule:0=random-triplets,1=semihard-triplet,2=hard-triplet",
    "hard-triplet --miner pml.TripletMarginMiner",
)  # fmt: skip
WITHOUT = {("mnist", "grouped"): "MNIST has no groups"}
SHOWN = ("recall@1", "map@r", "accuracy")


def main() -> None:
    """Run what is asked for and not there yet, then write the table of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--only", nargs="*", default=list(SAMPLERS))
    parser.add_argument("--dataset", choices=DATASETS, action="append")
    options = parser.parse_args()
    for dataset in options.dataset or DATASETS:
        for sampler in options.only:
            if (dataset, sampler) not in WITHOUT:
                train(dataset, sampler, options.data_root)
    write_section("samplers", report())


def train(dataset: str, sampler: str, data_root: str) -> None:
    """The command that a user would give, unless it came to its end before."""
    if finished(dataset, sampler):
        return
    words = shlex.split(f"{DATASETS[dataset]} --sampler {sampler}")
    places = ["--data-root", data_root, "--out", str(run_of(dataset, sampler)), "--overwrite"]
    subprocess.run([sys.executable, "-m", "metricforge", "train", *words, *places], check=True)


def run_of(dataset: str, sampler: str) -> Path:
    """A run's folder."""
    return RUNS / f"{dataset}-{sampler.partition(':')[0].replace(' --miner ', '-')}"


def finished(dataset: str, sampler: str) -> bool:
    """Whether the run came to its end."""
    return (run_of(dataset, sampler) / "report.html").is_file()


def report() -> list[str]:
    """The section of RESULTS.md: a table for each dataset."""
    lines = [
        "## Every sampler with its defaults",
        "",
        "Made by `python -m benchmarks.every_sampler --data-root DIR`; one seed (0) each, 95 % "
        f"intervals in brackets, on {machine()}. Few epochs and no tuning: what to expect of the "
        "defaults, not a ranking of methods.",
    ]
    for dataset, command in DATASETS.items():
        summaries = {
            s: json.loads((run_of(dataset, s) / "summary.json").read_text())
            for s in SAMPLERS
            if finished(dataset, s)
        }
        if not summaries:
            continue
        first = next(iter(summaries.values()))["results"]
        keys = [key for key in first["trained"] if key.startswith(SHOWN)]
        rows = [
            [f"`{s}`", *(cell(found["results"]["trained"][key]) for key in keys),
             f"{found['seconds']:.0f} s"]
            for s, found in summaries.items()
        ]  # fmt: skip
        rows += [
            [name, *(cell(first[name][key]) for key in keys), ""] for name in first
            if name != "trained"
        ]  # fmt: skip
        lines += ["", f"`metricforge train {command} --sampler ...`", ""]
        lines += table(["", *keys, "training"], rows)
    return [*lines, ""]


def cell(estimate: dict[str, Any]) -> str:
    """0.912 [0.900, 0.924]"""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


if __name__ == "__main__":
    main()
