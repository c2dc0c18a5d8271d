"""Metricforge's own outputs, which must not become images of a dataset."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from metricforge.data.filetypes import is_skipped
from metricforge.errors import UsageError

_HELD_BY = (
    frozenset({"env.json", "log.txt"}),  # a run, from before its first step on
    frozenset({"model.json", "weights.safetensors", "manifest.json"}),
    frozenset({"index.faiss", "contents.json", "manifest.json"}),
)
"""Sets of files, of which an output of metricforge holds one: a run, a model, an index."""


def is_output(files: Collection[str]) -> bool:
    """Whether a folder with files of these names is a run, a model or an index."""
    names = set(files)
    return any(held <= names for held in _HELD_BY)


def lies_among(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder of images, and not in a part of it that is skipped."""
    root, resolved = folder.resolve(), path.resolve()
    if resolved == root or not resolved.is_relative_to(root):
        return False
    return not any(is_skipped(part, is_folder=True) for part in resolved.relative_to(root).parts)


def refuse_among(out: Path, folder: Path) -> None:
    """UsageError for an output that would lie in a folder of images."""
    if lies_among(out, folder):
        below = out.resolve().relative_to(folder.resolve())
        beside = os.path.normpath(folder / ".." / below)
        raise UsageError(
            f"{out} lies in the folder of the images, '{folder}', where it would be taken for "
            f"images; write it elsewhere, e.g. --out {beside}."
        )
