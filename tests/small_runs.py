"""Small runs on a folder of images, whose split is by the names of its classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import metricforge


def folder_run(
    folder: Path, out: Path, classes: int, train: int, validation: int, **options: Any
) -> Path:
    """A run on classes 00, 01, ...: the first `train` train, those up to `validation` validate."""
    names = [f"{label:02}" for label in range(classes)]
    parts = {"train": names[:train], "validation": names[train:validation]}
    parts["test"] = names[validation:]
    split = ",".join(f"{part}={'+'.join(own)}" for part, own in parts.items())
    made = metricforge.train(
        dataset=f"folder:path={folder},size={options.pop('size')}", split=f"classes:{split}",
        device="cpu", dim=16, protocols=["retrieval"], orientations=1, out=out, **options,
    )  # fmt: skip
    return made.path
