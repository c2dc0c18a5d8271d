"""Every sampler on Omniglot and MNIST with its defaults: one table, so that they can be compared.

    python -m benchmarks.every_sampler --data-root DIR [--only NAME ...] [--dataset NAME]

One seed each. Omniglot: trained on the background alphabets, tested on characters of the others.
MNIST: trained on digits 0 to 4, tested on 7 to 9. An hour on two CPU cores; finished runs in
runs/every-sampler are taken as they are, so that a stopped call goes on.
"""

from __future__ import annotations

import argparse

from benchmarks.sections import Runs, cell, machine, table, write_section

RUNS = Runs("every-sampler")
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
                command = f"{DATASETS[dataset]} --sampler {sampler}"
                RUNS.train(run_of(dataset, sampler), command, options.data_root)
    write_section("samplers", report())


def run_of(dataset: str, sampler: str) -> str:
    """The name of a run's folder."""
    return f"{dataset}-{sampler.partition(':')[0].replace(' --miner ', '-')}"


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
        finished = [s for s in SAMPLERS if RUNS.finished(run_of(dataset, s))]
        if not finished:
            continue
        summaries = {s: RUNS.records(run_of(dataset, s))[0] for s in finished}
        first = summaries[finished[0]]["results"]
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


if __name__ == "__main__":
    main()
