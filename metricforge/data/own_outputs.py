"""Metricforge's own outputs, which must not become images of a dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from metricforge.data.filetypes import is_skipped
from metricforge.errors import UsageError

STORE = "metricforge-store.json"
"""The file that a store of embeddings holds beside those of its database."""

_HELD_BY = (
    frozenset({"env.json", "log.txt"}),  # a run, from before its first step on
    frozenset({"model.json", "weights.safetensors", "manifest.json"}),
    frozenset({"index.faiss", "contents.json", "manifest.json"}),
    frozenset({STORE}),
)
"""Sets of files, of which an output of metricforge holds one: a run, a model, an index, a store."""


def is_output(files: Collection[str]) -> bool:
    """Whether a folder with files of these names is a run, a model, an index or a store."""
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


def refuse_other(folder: str | Path, what: str, is_earlier: Callable[[Path], bool]) -> None:
    """UsageError for a folder that can't be replaced as a whole by an output, e.g. "index".

    It may be new or empty, or hold what `is_earlier` takes for an earlier output and nothing else.
    """
    path = Path(folder).resolve()
    if path == Path.cwd():
        raise UsageError(f"the {what} would replace the current folder; name a new one.")
    if path.exists() and not path.is_dir():
        raise UsageError(f"{folder} is a file; name another folder.")
    if path.is_dir() and any(path.iterdir()) and not is_earlier(path):
        raise UsageError(f"{folder} holds files that are no {what}; name another folder.")
