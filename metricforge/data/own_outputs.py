"""What metricforge itself writes, which must not be taken for images of a dataset."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from metricforge.data.filetypes import is_passed_over
from metricforge.errors import UsageError

_HELD_BY = (
    frozenset({"env.json", "log.txt"}),  # a run, from before its first step on
    frozenset({"model.json", "weights.safetensors", "manifest.json"}),
    frozenset({"index.faiss", "contents.json", "manifest.json"}),
)
"""Files of which all lie in a folder that metricforge wrote: a run, a model, an index."""


def is_output(files: Collection[str]) -> bool:
    """Whether a folder with files of these names is a run, a model or an index."""
    names = set(files)
    return any(held <= names for held in _HELD_BY)


def lies_among(place: Path, folder: Path) -> bool:
    """Whether a place is in a folder of images, where it would be taken for one of them or more."""
    root, there = folder.resolve(), place.resolve()
    if there == root or not there.is_relative_to(root):
        return False
    return not any(is_passed_over(part, is_folder=True) for part in there.relative_to(root).parts)


def refuse_among(out: Path, folder: Path) -> None:
    """UsageError for an output that would lie in a folder of images."""
    if lies_among(out, folder):
        below = out.resolve().relative_to(folder.resolve())
        beside = os.path.normpath(folder / ".." / below)
        raise UsageError(
            f"{out} lies in the folder of the images, '{folder}', where it would be taken for "
            f"images; write it elsewhere, e.g. --out {beside}."
        )
