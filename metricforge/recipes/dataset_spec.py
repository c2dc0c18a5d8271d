"""A dataset by the user's name for it: its spec, or the path of a folder or a file."""

from __future__ import annotations

import re
from pathlib import Path

from metricforge.contracts import Dataset
from metricforge.data.archive import SUFFIXES
from metricforge.data.own_outputs import refuse_among
from metricforge.errors import UsageError
from metricforge.recipes.components import make_dataset
from metricforge.recipes.custom_object import Component
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.spec import Spec

FOLDER = "folder"
"""The dataset that reads a folder or an archive."""

OF_FILES = {
    ".csv": "csv", ".tsv": "csv", ".npz": "npz", ".npy": "vectors", ".parquet": "vectors",
}  # fmt: skip
"""The datasets that read a file, by its extension in lower case."""


def open_dataset(what: str, registry: Registry, data_root: str | None = None) -> Dataset:
    """The dataset of a spec, a folder or a file; `data_root` is the folder of named datasets."""
    root = data_root or Recipe().data_root
    return make_dataset(registry, dataset_spec(what, registry), root)


def located(recipe: Recipe, registry: Registry) -> Recipe:
    """The recipe with its dataset's text replaced by a spec; see :func:`dataset_spec`."""
    if not isinstance(recipe.dataset, str):
        return recipe
    return recipe.but(dataset=dataset_spec(recipe.dataset, registry))


def dataset_spec(what: str, registry: Registry) -> Spec:
    """The spec of a dataset from its text, a spec or a path.

    A folder or an archive is "folder:path=...", a .csv "csv:path=...", an .npz "npz:path=...", a
    .npy or .parquet "vectors:path=...".
    The name of an installed dataset takes precedence over a folder: write ./digits for a folder of
    that name. Raises UsageError for anything else.
    """
    if _is_path(what, registry):
        path = Path(what).expanduser()
        return Spec(OF_FILES.get(path.suffix.lower(), FOLDER), {"path": str(path)})
    name, colon, argument = what.partition(":")
    if colon and "=" not in argument and name in {FOLDER, *OF_FILES.values()}:
        raise UsageError(
            f"can't read the dataset '{what}'; write {Spec(name, {'path': argument})}, with its "
            "option."
        )
    spec = Spec.parse(what)
    try:
        registry.find("dataset", spec)
    except UsageError as error:
        if colon or "=" in what:
            raise
        raise UsageError(f"{error} There is no folder or file '{what}' either.") from error
    return spec


def refuse_inside(out: Path, dataset: Component | str) -> None:
    """UsageError for an output that would lie among the images of a dataset."""
    path = dataset.options.get("path") if isinstance(dataset, Spec) else None
    if path and (folder := Path(path).expanduser()).is_dir():
        refuse_among(out, folder)


def _is_path(what: str, registry: Registry) -> bool:
    name = re.split("[:=]", what, maxsplit=1)[0]
    if "/" in name or name.startswith((".", "~")):
        return True
    if name in {entry.name for entry in registry.entries("dataset")}:
        return False
    return name.lower().endswith((*OF_FILES, *SUFFIXES)) or Path(what).is_dir()
