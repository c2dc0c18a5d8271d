"""Episode files: few-shot questions to ask of another model, or in another program.

JSON, with the places of the images in their dataset; for images that are files, the files, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metricforge.atomic_files import parsed, write_file
from metricforge.contracts import Dataset, Trials
from metricforge.data.image_files import name_of
from metricforge.data.images import fingerprint
from metricforge.errors import ArtefactError, DataError

FORMAT = "metricforge episodes 1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def write_episodes(path: Path, trials: Mapping[str, Trials], dataset: Dataset) -> None:
    """Write episodes of places in `dataset`, by the name that their number has after its @."""
    record: dict[str, Any] = {
        "format": FORMAT,
        "dataset": dataset.name,
        "dataset_fingerprint": fingerprint(dataset),
        "episodes": {
            name: {"support": given.support.tolist(), "queries": given.queries.tolist()}
            for name, given in trials.items()
        },
    }
    if not isinstance(dataset.images, Tensor):
        used = {int(place) for given in trials.values() for place in _places(given)}
        record["files"] = {place: name_of(dataset.images[place]) for place in sorted(used)
                           if dataset.images}  # fmt: skip
    write_file(path, json.dumps(record) + "\n")


def read_episodes(path: Path, dataset: Dataset) -> dict[str, Trials]:
    """The episodes of a file that were drawn from this dataset.

    Raises ArtefactError for what is no episode file, DataError for one of another dataset.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file.")
    try:
        record = parsed(path.read_text(encoding="utf-8"))
        known = record["format"] == FORMAT
        drawn_from = record["dataset"], record["dataset_fingerprint"]
        found = {name: _trials(given) for name, given in record["episodes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path} is no episode file ({error}).") from error
    if not known:
        raise ArtefactError(f"{path} is no episode file of this version ({record['format']!r}).")
    if drawn_from[1] != fingerprint(dataset):
        raise DataError(
            f"the episodes in {path} were drawn from other images ('{drawn_from[0]}') than those "
            f"of '{dataset.name}': its images or labels differ."
        )
    if not found:
        raise ArtefactError(f"{path} holds no episodes.")
    for name, given in found.items():
        if wrong := _wrong(name, given, dataset):
            raise ArtefactError(f"{path}: episodes '{name}' {wrong}.")
    return found


def _wrong(name: str, given: Trials, dataset: Dataset) -> str | None:
    """What speaks against episodes, if anything does."""
    if not NAME.fullmatch(name) or name == "none":
        return "have a name that is none; use letters, figures and dashes"
    places = _places(given)
    if len(places) == 0 or not 0 <= int(places.min()) <= int(places.max()) < len(dataset):
        return "name images that are not there"
    ways = given.support.shape[1]
    of_class = dataset.labels[given.support[:, :, 0]]
    asked = given.queries.reshape(len(given.queries), ways, -1)
    if not bool((dataset.labels[given.support] == of_class[:, :, None]).all()):
        return "have a support of more than one class"
    if not bool((dataset.labels[asked] == of_class[:, :, None]).all()):
        return "ask for other classes than those of the support"
    own = asked[:, :, :, None] == given.support[:, :, None, :]
    return "ask for images of the support" if bool(own.any()) else None


def _trials(given: Mapping[str, Any]) -> Trials:
    support, queries = (torch.tensor(given[part]) for part in ("support", "queries"))
    shaped = support.ndim == 3 and queries.ndim == 2 and len(support) == len(queries)
    if not shaped or {support.dtype, queries.dtype} != {torch.int64}:
        raise ValueError("support is [E, W, S] and queries are [E, W * Q], whole numbers")
    if queries.shape[1] == 0 or queries.shape[1] % support.shape[1]:
        raise ValueError("each class of an episode has as many queries")
    return Trials(support, queries)


def _places(given: Trials) -> Tensor:
    return torch.cat([given.support.flatten(), given.queries.flatten()])
