"""The features of a pretrained backbone for a dataset, written as a dataset of vectors.

    python -m benchmarks.photo_vectors groceries.zip groceries.npz [--backbone efficientnet-lite0]

The arrays are features [N, F], labels, and groups and split if the dataset has them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import assemble
from metricforge.training.frozen_features import FrozenFeatures

PARTS = np.array(["train", "validation", "test"])


def main() -> None:
    """Embed all images, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    options = parser.parse_args()
    recipe = Recipe.from_values(
        {"dataset": options.dataset, "backbone": options.backbone, "rates": "backbone=0"},
        "photo_vectors",
    )
    assembly = assemble(recipe, Registry.installed())
    np.savez(options.out, **arrays(assembly.inputs, assembly.dataset))


def arrays(features: Any, dataset: Any) -> dict[str, Any]:
    """The arrays of a dataset of vectors."""
    assert isinstance(features, FrozenFeatures), "the backbone is frozen"
    every = torch.arange(len(dataset))
    features.compute(every)
    found = {
        "features": features.take(every).cpu().numpy(),
        "labels": np.array(dataset.classes)[dataset.labels.numpy()],
    }
    if dataset.groups is not None:
        found["groups"] = np.array(dataset.group_names)[dataset.groups.numpy()]
    if dataset.official is not None:
        found["split"] = PARTS[dataset.official.numpy()]
    return found


if __name__ == "__main__":
    main()
