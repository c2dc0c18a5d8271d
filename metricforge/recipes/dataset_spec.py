"""What a user calls a dataset: its spec, or simply a folder or a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from metricforge.contracts import Dataset
from metricforge.data.archive import SUFFIXES
from metricforge.data.own_outputs import refuse_among
from metricforge.errors import UsageError
from metricforge.recipes.components import make_dataset
from metricforge.recipes.recipe import OBJECT, Recipe
from metricforge.registry import Registry
from metricforge.spec import Spec

FOLDER = "folder"
"""The dataset that reads a folder or an archive."""

OF_FILES = {".csv": "csv", ".npz": "npz"}
"""The datasets that read a file, by its extension in lower case."""


def open_dataset(what: str, registry: Registry, data_root: str | None = None) -> Dataset:
    """The dataset that a spec, a folder or a file gives; `data_root` is where others lie."""
    root = data_root or Recipe().data_root
    return make_dataset(registry, named(what, registry), root)


def located(recipe: Recipe, registry: Registry) -> Recipe:
    """The recipe with the spec of a dataset that was given by a path; UsageError for neither."""
    if not isinstance(recipe.dataset, str) or recipe.dataset.startswith(OBJECT):
        return recipe
    spec = named(recipe.dataset, registry)
    # A default that nobody typed stays one.
    return recipe if spec == recipe.dataset else recipe.but(dataset=spec)


def named(what: str, registry: Registry) -> str:
    """As `dataset_spec`; UsageError for what is neither the name of a dataset nor a path."""
    spec = dataset_spec(what, registry)
    if spec != what:
        return spec
    name, colon, rest = what.partition(":")
    if colon and "=" not in rest and name in {FOLDER, *OF_FILES.values()}:
        raise UsageError(
            f"can't read the dataset '{what}'; write {Spec(name, {'path': rest})}, with its option."
        )
    try:
        registry.find("dataset", Spec.parse(what))
    except UsageError as error:
        if colon or "=" in what:
            raise
        raise UsageError(
            f"there is no folder or file '{what}' here, and as the name of a dataset: {error}"
        ) from error
    return spec


def dataset_spec(what: str, registry: Registry) -> str:
    """The spec of a dataset that is given by one, or by the path of what holds it.

    A folder or an archive is "folder:path=...", a .csv "csv:path=...", an .npz "npz:path=...".
    The name of a dataset that is installed means that, whatever lies in the current folder: write
    ./digits for a folder of that name.
    """
    if not _is_path(what, registry):
        return what
    path = Path(what).expanduser()
    return str(Spec(OF_FILES.get(path.suffix.lower(), FOLDER), {"path": str(path)}))


def refuse_inside(out: Path, dataset: Any) -> None:
    """UsageError for an output that would lie among the images of a dataset, given as its spec."""
    if not isinstance(dataset, str) or dataset.startswith(OBJECT):
        return
    path = Spec.parse(dataset).options.get("path")
    if path and Path(path).is_dir():
        refuse_among(out, Path(path))


def _is_path(what: str, registry: Registry) -> bool:
    name = re.split("[:=]", what, maxsplit=1)[0]
    if "/" in name or name.startswith((".", "~")):
        return True
    if name in {entry.name for entry in registry.entries("dataset")}:
        return False
    return name.lower().endswith((*OF_FILES, *SUFFIXES)) or Path(what).is_dir()
