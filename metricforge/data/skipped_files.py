"""Notes on the files in a folder of images that are skipped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from metricforge.data.filetypes import RAWS, FileKind, file_kind
from metricforge.data.own_outputs import is_output

_SHOWN = 8  # kinds in a note


def asides(root: Path) -> Iterator[str]:
    """Notes on the files below `root` that are skipped; hidden files are not counted."""
    kinds = Counter(_kind(name) for name in _names(root) if file_kind(name) is FileKind.BY_FILE)
    raws = Counter({kind: count for kind, count in kinds.items() if kind in RAWS})
    remaining = kinds - raws
    if raws:
        yield f"camera raws, which are not read: {_counted(raws)}; export them as JPEG or PNG."
    if remaining:
        yield f"skipped, as they are no images: {_counted(remaining)}."


def _names(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        if is_output(files) and folder != os.fspath(root):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (name for name in files if not name.startswith("."))


def _kind(name: str) -> str:
    extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path takes ten times as long
    return "~" if name.endswith("~") else extension or name.lower()


def _counted(kinds: Counter[str]) -> str:
    shown = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common(_SHOWN))
    return f"{kinds.total():,} ({shown}{', ...' if len(kinds) > _SHOWN else ''})"
