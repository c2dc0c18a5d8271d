"""Which characters a run confuses on its validation alphabets, and how often.

    python -m benchmarks.omniglot_errors RUN ... --data-root DIR [--dataset SPEC]
        [--without CHARACTER ...] [--pairs N]

Each drawer's characters of an alphabet are told by those of each other drawer, among all of the
alphabet: more pairs than any number of episodes draws, so that small differences show. `--without`
leaves out characters, such as twins that nobody could tell apart.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.images import open_images
from metricforge.data.split import split_dataset
from metricforge.judging.subject import load_model
from metricforge.recipes.dataset_spec import open_dataset
from metricforge.registry import Registry
from metricforge.runs.run import Run

DRAWERS = 20


def main() -> None:
    """Print the error of each run, by alphabet, and the pairs that are confused most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--dataset", help="such as omniglot:size=32, for runs on composed classes")
    parser.add_argument("--without", nargs="*", default=[], metavar="CHARACTER")
    parser.add_argument("--pairs", type=int, default=0)
    options = parser.parse_args()
    registry = Registry.installed()
    for path in options.runs:
        run = Run.open(path)
        spec = options.dataset or str(run.recipe.dataset)
        dataset = open_dataset(spec, registry, options.data_root)
        places = split_dataset(dataset, run.recipe.split).validation
        images = open_images(dataset)
        model = load_model(run, "cpu", registry)
        rows = F.normalize(model.embed([images.take(part) for part in places.split(512)]))
        errors, pairs = confused(rows, places, dataset, options.without)
        mean = sum(errors.values()) / len(errors)
        shown = ", ".join(f"{name} {100 * error:.2f} %" for name, error in errors.items())
        print(f"{path.name}: {100 * mean:.2f} % ({shown})")
        for (one, other), count in pairs.most_common(options.pairs):
            print(f"    {count:4} {one} taken for {other}")


def confused(
    rows: Tensor, places: Tensor, dataset: Dataset, without: Sequence[str]
) -> tuple[dict[str, float], Counter[tuple[str, str]]]:
    """The error of each alphabet, and how often which character was taken for which.

    `rows` [N, D], of length one, are of the images at `places` [N]; each character has DRAWERS.
    """
    assert dataset.groups is not None
    labels, groups = dataset.labels[places], dataset.groups[places]
    apart = ~torch.eye(DRAWERS, dtype=torch.bool)
    errors: dict[str, float] = {}
    pairs: Counter[tuple[str, str]] = Counter()
    for group in groups.unique().tolist():
        names = [
            (int(label), dataset.classes[label])
            for label in labels[groups == group].unique().tolist()
            if dataset.classes[label] not in without
        ]
        drawn = torch.stack([rows[labels == label] for label, _ in names])
        # [drawer who asks, drawer who answers, character asked, character answered]
        nearest = torch.einsum("aqd,bsd->qsab", drawn, drawn).argmax(3)[apart]
        wrong = nearest != torch.arange(len(names))
        errors[dataset.group_names[group]] = float(wrong.double().mean())
        for asked, answered in zip(
            wrong.nonzero()[:, 1].tolist(), nearest[wrong].tolist(), strict=True
        ):
            pairs[names[asked][1], names[answered][1]] += 1
    return errors, pairs


if __name__ == "__main__":
    main()
