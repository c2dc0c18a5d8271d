"""Writes the folder of a new plugin: complete or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from pathlib import Path

from metricforge.atomic_files import clear_partials, partial_of
from metricforge.errors import ResourceError, UsageError
from metricforge.registry import Registry
from metricforge.scaffold.contents import code_of, contents
from metricforge.scaffold.naming import checked


def write_plugin(
    kind: str, name: str, folder: Path | None = None, registry: Registry | None = None
) -> Path:
    """Write a complete plugin package into `folder` (default: `NAME` here), and return it.

    `kind` is a kind of component, "command" or "search". The package has a component that works,
    its tests and its README, and passes ruff, `mypy --strict` and its tests as it is. `registry`
    knows the names that are taken (default: those of the installed distributions).

    Raises UsageError for an unknown kind, a name that can't be used and a folder that exists,
    ResourceError when the folder can't be written.
    """
    source = code_of(kind)
    naming = checked(kind, name, source, registry or Registry.installed())
    folder = Path(name) if folder is None else folder
    if folder.exists() or folder.is_symlink():
        raise _folder_exists(folder)
    _write(folder, contents(naming))
    return folder


def _folder_exists(folder: Path) -> UsageError:
    return UsageError(
        f"{folder} exists, and nothing in it was changed; choose another name, remove it, or "
        "write elsewhere."
    )


def _write(folder: Path, files: Mapping[str, str]) -> None:
    partial = partial_of(folder)
    try:
        clear_partials(folder.parent, folder.name)
        partial.mkdir(parents=True)
        for name, text in files.items():
            (partial / name).write_text(text, encoding="utf-8")
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
            raise _folder_exists(folder) from error
        raise ResourceError(f"can't write {folder}: {error.strerror or error}.") from error
