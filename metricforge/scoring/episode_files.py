"""Episode files: few-shot questions to ask of another model, or in another program.

JSON, with the places of the images in their dataset; for images that are files, the files, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from metricforge.atomic_files import write_file
from metricforge.contracts import Dataset, Trials
from metricforge.data.image_files import name_of
from metricforge.data.images import fingerprint
from metricforge.decoding import Count, decoded
from metricforge.errors import ArtefactError, DataError
from metricforge.regular_file import read_text

FORMAT = "metricforge episodes 1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class _Given(TypedDict):
    support: list[list[list[Count]]]
    queries: list[list[Count]]


class _Record(TypedDict):
    format: str
    dataset: str
    dataset_fingerprint: str
    episodes: dict[str, _Given]


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
        record = decoded(read_text(path), _Record)
        found = {name: _trials(given) for name, given in record["episodes"].items()}
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is no episode file ({error}).") from error
    if record["format"] != FORMAT:
        raise ArtefactError(f"{path} is no episode file of this version ({record['format']!r}).")
    if record["dataset_fingerprint"] != fingerprint(dataset):
        raise DataError(
            f"the episodes in {path} were drawn from other images ('{record['dataset']}') than "
            f"those of '{dataset.name}': its images or labels differ."
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


def _trials(given: _Given) -> Trials:
    support, queries = torch.tensor(given["support"]), torch.tensor(given["queries"])
    if not support.numel() or queries.ndim != 2 or len(support) != len(queries):
        raise ValueError("support is [E, W, S] and queries are [E, W * Q]")
    if queries.shape[1] == 0 or queries.shape[1] % support.shape[1]:
        raise ValueError("each class of an episode has as many queries")
    return Trials(support, queries)


def _places(given: Trials) -> Tensor:
    return torch.cat([given.support.flatten(), given.queries.flatten()])
