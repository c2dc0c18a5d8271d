"""The official Omniglot trials by several views of an image, and by several networks.

    python -m benchmarks.omniglot_views RUN ... --data-root DIR [--out FILE] [--part validation]

Each image is embedded alone, as it is and in further VIEWS, slightly turned and slanted, whose
embeddings are averaged; or in the ORIENTATIONS, each of which the network has learned as a class of
its own, laid end to end, as those of several runs are (the seeds of a suite). What it finds is no
row among single networks: it costs so many times as much. On validation classes the task is 20-way
1-shot within an alphabet, by which the views were chosen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Estimate
from metricforge.data.images import open_images
from metricforge.data.orientations import Oriented
from metricforge.data.split import split_dataset
from metricforge.evaluation import over_seeds
from metricforge.judging.subject import load_model
from metricforge.recipes.augmentation import edge_colour
from metricforge.recipes.components import component, make_protocol
from metricforge.recipes.dataset_spec import open_dataset
from metricforge.registry import Registry
from metricforge.runs.run import Run
from metricforge.scoring.apply import labelled_part
from metricforge.spec import Spec
from metricforge.training.augmentation import Chain

STEPS = ("affine:rotate=6,shear=6,scale=0.06,shift=0.03",)
VIEWS = 8
ORIENTATIONS = 8
PROTOCOLS = {
    "test": "oneshot:official=omniglot",
    "validation": "oneshot:way=20,queries=1,within=group,episodes=4000",
}


def main() -> None:
    """Measure each run alone, with views, and all of them together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=PROTOCOLS, default="test")
    parser.add_argument("--views", type=int, default=VIEWS)
    parser.add_argument("--step", action="append")
    parser.add_argument("--dataset", help="such as omniglot:size=32, for runs on composed classes")
    options = parser.parse_args()
    found = measured(options)
    if options.out:
        told = {name: asdict(one) for name, one in found.items()}
        options.out.write_text(json.dumps(told, indent=1))
    for name, one in found.items():
        span = f" [{one.low:.4f}, {one.high:.4f}]" if one.n > 1 else ""
        print(f"{name:24} {one.value:.4f}{span} n={one.n} {one.over}")


def measured(options: argparse.Namespace) -> Mapping[str, Estimate]:
    """The estimates of a single view and of several, over runs and of all runs together."""
    registry = Registry.installed()
    runs = [Run.open(path) for path in options.runs]
    if len({run.summary["split_hash"] for run in runs}) > 1:
        raise SystemExit("the runs are of several splits: what tests one trained another.")
    # One with fewer classes to train on has the same ones to validate and to test.
    dataset = open_dataset(
        options.dataset or str(runs[0].recipe.dataset), registry, options.data_root
    )
    split = split_dataset(dataset, runs[0].recipe.split)
    indices = split.part(options.part)
    labelled = labelled_part(dataset, indices)
    protocol = make_protocol(registry, Spec.parse(PROTOCOLS[options.part]))
    images = open_images(dataset)
    offers = {"in_channels": dataset.shape[0], "image_size": dataset.shape[1:]}
    steps = [
        component(registry, "augmentation", Spec.parse(step), offers)
        for step in options.step or STEPS
    ]
    chain = Chain(steps, 0, edge_colour(images, split.train))

    def error(rows: Tensor) -> Estimate:
        (estimate,) = protocol.evaluate(rows, labelled).estimates.values()
        return estimate

    oriented = Oriented(images, ORIENTATIONS)
    ways: dict[str, list[Tensor]] = {}
    for run in runs:
        if options.part == "test":
            told = {"part": "test", "split_hash": run.summary["split_hash"], "by": __name__}
            run.folder.append(run.folder.evaluations, told)
        model = load_model(run, "cpu", registry)
        shown = [images.take(batch) for batch in indices.split(512)]
        rows = F.normalize(model.embed(shown))
        total = rows.clone()
        for view in range(options.views):
            turned = (
                chain(batch, view, places).round().clamp(0, 255).to(torch.uint8)
                for batch, places in zip(shown, indices.split(512), strict=True)
            )
            total += F.normalize(model.embed(turned))
        laid = [rows]
        for view in range(1, ORIENTATIONS):
            seen = (oriented.take(batch * ORIENTATIONS + view) for batch in indices.split(512))
            laid.append(F.normalize(model.embed(seen)))
        for name, each in (
            ("one view", rows),
            (f"{1 + options.views} views", F.normalize(total)),
            (f"{ORIENTATIONS} orientations", torch.cat(laid, dim=1)),
        ):
            ways.setdefault(name, []).append(each)
    found = {}
    for name, each in ways.items():
        values = torch.tensor([error(rows).value for rows in each]).double().numpy()
        found[f"{name}, mean of {len(each)}"] = over_seeds(values)
        if len(each) > 1:
            found[f"{name}, {len(each)} together"] = error(torch.cat(each, dim=1))
    return found


if __name__ == "__main__":
    main()
