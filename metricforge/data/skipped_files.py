"""Notes on the files in a folder of images that are skipped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from metricforge.data.filetypes import HEIF, UNREAD, FileKind, file_kind, is_skipped
from metricforge.data.own_outputs import is_output

_SHOWN = 8  # kinds in a note


def asides(root: Path, exclude: Callable[[str], bool] | None = None) -> Iterator[str]:
    """Notes on the files and folders below `root` that are skipped.

    Hidden ones are not counted, nor is what `exclude` takes by its path below `root`.
    """
    kinds, folders = Counter[str](), Counter[str]()
    for names, skipped in _below(root, exclude or (lambda path: False)):
        kinds.update(_kind(name) for name in names if file_kind(name) is FileKind.BY_FILE)
        folders.update(skipped)
    unread = Counter({kind: count for kind, count in kinds.items() if kind in UNREAD})
    phones = Counter({kind: count for kind, count in kinds.items() if kind in HEIF})
    remaining = kinds - unread - phones
    if phones:
        yield (
            f"images that pillow-heif would read: {_counted(phones)}; pip install "
            "'metricforge[photos]'."
        )
    if unread:
        yield f"images of kinds that are not read: {_counted(unread)}; export them as JPEG or PNG."
    if remaining:
        yield f"skipped, as they are no images: {_counted(remaining)}."
    if folders:
        yield f"folders of the system or of its storage, skipped: {_counted(folders)}."


def _below(root: Path, exclude: Callable[[str], bool]) -> Iterator[tuple[list[str], list[str]]]:
    """The files of each folder that are not hidden, and its folders that are skipped by name."""
    for folder, folders, files in os.walk(root):
        if is_output(files) and folder != os.fspath(root):
            folders.clear()
            continue
        below = Path(folder).relative_to(root)
        files = [name for name in files if not exclude((below / name).as_posix())]
        shown = [
            name
            for name in folders
            if not name.startswith(".") and not exclude((below / name).as_posix())
        ]
        folders[:] = [name for name in shown if not is_skipped(name, is_folder=True)]
        yield (
            [name for name in files if not name.startswith(".")],
            [name for name in shown if is_skipped(name, is_folder=True)],
        )


def _kind(name: str) -> str:
    extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path takes ten times as long
    return "~" if name.endswith("~") else extension or name.lower()


def _counted(kinds: Counter[str]) -> str:
    shown = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common(_SHOWN))
    return f"{kinds.total():,} ({shown}{', ...' if len(kinds) > _SHOWN else ''})"
