"""What a user calls a dataset: its spec, or simply a folder or a file."""

from __future__ import annotations

import re
from pathlib import Path

from metricforge.contracts import Dataset
from metricforge.data.archive import SUFFIXES
from metricforge.registry import Registry
from metricforge.runs.components import make_dataset
from metricforge.runs.recipe import Recipe
from metricforge.spec import Spec

OF_FILES = {".csv": "csv", ".npz": "npz"}
"""The datasets that read a file, by its extension in lower case."""


def open_dataset(what: str, registry: Registry, data_root: str | None = None) -> Dataset:
    """The dataset that a spec, a folder or a file gives; `data_root` is where others lie."""
    root = data_root or Recipe().data_root
    return make_dataset(registry, dataset_spec(what, registry), root)


def dataset_spec(what: str, registry: Registry) -> str:
    """The spec of a dataset that is given by one, or by the path of what holds it.

    A folder or an archive is "folder:path=...", a .csv "csv:path=...", an .npz "npz:path=...".
    The name of a dataset that is installed means that, whatever lies in the current folder: write
    ./digits for a folder of that name.
    """
    if not _is_path(what, registry):
        return what
    path = Path(what).expanduser()
    return str(Spec(OF_FILES.get(path.suffix.lower(), "folder"), {"path": str(path)}))


def _is_path(what: str, registry: Registry) -> bool:
    name = re.split("[:=]", what, maxsplit=1)[0]
    if "/" in name or name.startswith((".", "~")):
        return True
    if name in {entry.name for entry in registry.entries("dataset")}:
        return False
    return name.lower().endswith((*OF_FILES, *SUFFIXES)) or Path(what).is_dir()
