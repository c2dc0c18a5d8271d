"""Whether thresholds keep what was promised of strangers, over many splits of the classes.

    python -m benchmarks.promises NAME=FILE.npz|RUN[:cohort] ... [--splits 40] [--write]

Each file is a dataset of vectors, features [N, F] and labels, as benchmarks.photo_vectors writes
it: by default the frozen features of EfficientNet-Lite0. Of a run its test classes are embedded by
its model. With :cohort training images may normalise distances, and the other classes are measured
alone. In each split a random half of the classes
is for validation, and half of the others are enrolled with five images each, in 200 draws.
A threshold is chosen on the validation classes: as `metricforge enrol` does, for a share of
strangers; at the equal error rate of verification; or as a cosine of .5. Its share of strangers'
images that are identified as somebody is then measured on the other half.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.sections import ROOT, machine, write_section
from metricforge.errors import DataError
from metricforge.evaluation import (
    By,
    Cohort,
    OpenSet,
    Ranked,
    distances_of,
    draw_pairs,
    draw_trials,
    over_seeds,
    probe,
)
from metricforge.galleries.calibration import calibrate
from metricforge.galleries.embedded import embed_dataset
from metricforge.galleries.enrol import some_of_training
from metricforge.judging.own_dataset import open_own_dataset, own_split
from metricforge.loading import load
from metricforge.registry import Registry
from metricforge.runs.run import Run

SHARES = (0.05, 0.01)
SHOTS, DRAWS, PAIRS = 5, 200, 100_000
WORKERS = 2
"""Sets at a time: much of the work is on one thread."""

PICTURE = ROOT / "benchmarks" / "pictures" / "promises.png"
COHORT = ":cohort"
EER, COSINE = "equal error rate", "cosine above .5"


@dataclass(frozen=True)
class Kept:
    """What a way to choose a threshold gave in each split: FPIR and DIR."""

    name: str
    way: str
    fpir: NDArray[np.float64]
    dir: NDArray[np.float64]


def main() -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--splits", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    kept: list[Kept] = []
    with ProcessPoolExecutor(WORKERS) as pool:
        for found in pool.map(of_set, options.sets, repeat(options.splits)):
            print(f"{found[0].name} is measured.", file=sys.stderr)
            kept += found
    lines = list(table(kept, options.splits))
    print("\n".join(lines))
    if options.write:
        draw(kept)
        write_section("promises", lines)


def of_set(text: str, splits: int) -> list[Kept]:
    """What each way gives on the set NAME=PATH."""
    name, _, path = text.partition("=")
    cohort = path.endswith(COHORT)
    return list(measure(name, read(Path(path.removesuffix(COHORT)), cohort), splits))


class Known(NamedTuple):
    """Embeddings of unit length [N, D], their classes [N], and training images if there are any."""

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    cohort: Cohort | None


def read(path: Path, with_cohort: bool) -> Known:
    """What is measured: all classes, or beside training images as a cohort the others alone."""
    if path.is_dir():
        run = Run.open(path)
        dataset = open_own_dataset(run, Registry.installed(), None)
        split, model = own_split(run, dataset), load(path)
        tested = embed_dataset(model, dataset, split.test)
        rows, names, others = tested.rows, np.array(tested.classes), None
        if with_cohort:
            others = embed_dataset(model, dataset, some_of_training(run, dataset)).rows
    else:
        arrays = np.load(path)
        rows, names, others = arrays["features"].astype(np.float32), arrays["labels"], None
        if with_cohort:
            train = arrays["split"] == "train"
            others, rows, names = rows[train], rows[~train], names[~train]
    labels = np.unique(names, return_inverse=True)[1]
    return Known(unit(rows), labels, None if others is None else Cohort(unit(others)))


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of unit length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measure(name: str, known: Known, splits: int) -> Iterator[Kept]:
    """What each way gives on a set."""
    rows, labels, cohort = known
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(labels.max() + 1)
        chooses = np.isin(labels, order[: len(order) // 2])
        enrolled = (len(order) - len(order) // 2) // 2
        pairs = draw_pairs(labels[chooses], PAIRS, seed=seed)
        roc = Ranked(distances_of(rows[chooses], pairs), pairs).roc()
        ways: dict[str, tuple[float, By, Cohort | None]] = {
            COSINE: (1.0, "mean", None),
            EER: (roc.equal_error[1], "mean", None),
        }
        for share in SHARES:
            with suppress(DataError):  # too few classes to promise that
                chosen = calibrate(
                    rows[chooses], labels[chooses], [SHOTS] * enrolled, share, cohort=cohort
                )
                normalised = cohort if chosen.normalised else None
                ways[f"promised {share:.0%}"] = (chosen.threshold, chosen.by, normalised)
        drawn = draw_trials(
            labels[~chooses], enrolled=enrolled, shots=SHOTS, trials=DRAWS // splits, seed=seed
        )
        for way, (threshold, by, norm) in ways.items():
            probes = probe(rows[~chooses], labels[~chooses], drawn, by)
            if norm is not None:
                probes = probes.less(rows[~chooses], norm)
            rates = OpenSet(probes)
            found.setdefault(way, []).append((rates.fpir(threshold), rates.dir(threshold)))
    for way in sorted(found, reverse=True):
        fpir, identified = np.array(found[way]).T
        yield Kept(name, way, fpir, identified)


def table(kept: list[Kept], splits: int) -> Iterator[str]:
    """The section of RESULTS.md."""
    yield from (
        "## Promises about strangers",
        "",
        f"`python -m benchmarks.promises NAME=FILE.npz|RUN ... --splits {splits} --write` on "
        f"{machine()}; the files are those that `benchmarks.photo_vectors` writes, and of a run "
        f"its model embeds its test classes. With a cohort, training images may normalise the "
        f"distances, and the other classes are measured alone. {splits} random "
        "splits of the classes of each set. A threshold is chosen on half of the classes; half of "
        f"the others are enrolled with {SHOTS} images each, in {DRAWS} draws, and the images of "
        "the rest are strangers'. "
        "Means over the splits with their 95 % intervals; held: the fraction of the splits in "
        "which no more strangers were identified than promised. A promise is kept in the mean "
        "over classes: in about half of the splits the share is a little higher.",
        "",
        "|  | threshold by | strangers identified | held | enrolled identified as theirs |",
        "|---|---|---|---|---|",
    )
    for each in kept:
        share = next((s for s in SHARES if f"{s:.0%}" in each.way), None)
        held = "" if share is None else f"{(each.fpir <= share).mean():.0%}"
        cells = []
        for values in (each.fpir, each.dir):
            mean = over_seeds(values)
            cells.append(f"{mean.value:.1%} [{mean.low:.1%}, {mean.high:.1%}]")
        yield f"| {each.name} | {each.way} | {cells[0]} | {held} | {cells[1]} |"
    yield ""
    yield f"![Shares of strangers that are identified]({PICTURE.relative_to(ROOT / 'benchmarks')})"


def draw(kept: list[Kept]) -> None:
    """A point for each split, beside the promised shares."""
    figure = Figure(figsize=(8.2, 0.42 * len(kept) + 1.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for row, each in enumerate(reversed(kept)):
        share = next((s for s in SHARES if f"{s:.0%}" in each.way), None)
        colour = "tab:gray" if share is None else "tab:blue"
        height = row + rng.uniform(-0.25, 0.25, len(each.fpir))
        axes.scatter(each.fpir, height, s=9, color=colour, alpha=0.6, linewidths=0)
        axes.plot([each.fpir.mean()] * 2, [row - 0.38, row + 0.38], color="black", linewidth=1.4)
        if share is not None:
            axes.plot([share] * 2, [row - 0.45, row + 0.45], color="tab:red", linewidth=1.6)
    axes.set_yticks(range(len(kept)), [f"{each.name}, {each.way}" for each in reversed(kept)])
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.01, 0.05, 0.1, 0.5, 1], ["0", "1 %", "5 %", "10 %", "50 %", "100 %"])
    axes.set_xlabel("strangers' images that are identified as somebody (red: promised)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE)


if __name__ == "__main__":
    main()
