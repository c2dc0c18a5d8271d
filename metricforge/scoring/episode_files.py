"""Episode files: few-shot episodes to run on another model, or in another program.

JSON, with the indices of the images in their dataset; for images that are files, the files, too.
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


class _Episodes(TypedDict):
    support: list[list[list[Count]]]
    queries: list[list[Count]]


class _Record(TypedDict):
    format: str
    dataset: str
    dataset_fingerprint: str
    episodes: dict[str, _Episodes]


def write_episodes(path: Path, trials: Mapping[str, Trials], dataset: Dataset) -> None:
    """Write episodes of indices in `dataset`; `trials` are by the name after their metrics' @."""
    record: dict[str, Any] = {
        "format": FORMAT,
        "dataset": dataset.name,
        "dataset_fingerprint": fingerprint(dataset),
        "episodes": {
            name: {"support": episodes.support.tolist(), "queries": episodes.queries.tolist()}
            for name, episodes in trials.items()
        },
    }
    if not isinstance(dataset.images, Tensor):
        used = {int(index) for episodes in trials.values() for index in _indices(episodes)}
        record["files"] = {index: name_of(dataset.images[index]) for index in sorted(used)
                           if dataset.images}  # fmt: skip
    write_file(path, json.dumps(record) + "\n")


def read_episodes(path: Path, dataset: Dataset) -> dict[str, Trials]:
    """The episodes of a file that were drawn from this dataset.

    Raises ArtefactError for anything that is not an episode file, DataError for another dataset.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file.")
    try:
        record = decoded(read_text(path), _Record)
        trials = {name: _trials(episodes) for name, episodes in record["episodes"].items()}
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is no episode file ({error}).") from error
    if record["format"] != FORMAT:
        raise ArtefactError(f"{path} is no episode file of this version ({record['format']!r}).")
    if record["dataset_fingerprint"] != fingerprint(dataset):
        raise DataError(
            f"the episodes in {path} were drawn from other images ('{record['dataset']}') than "
            f"those of '{dataset.name}': its images or labels differ."
        )
    if not trials:
        raise ArtefactError(f"{path} holds no episodes.")
    for name, episodes in trials.items():
        if wrong := _wrong(name, episodes, dataset):
            raise ArtefactError(f"{path}: episodes '{name}' {wrong}.")
    return trials


def _wrong(name: str, episodes: Trials, dataset: Dataset) -> str | None:
    """The fault of episodes, None for none."""
    if not NAME.fullmatch(name) or name == "none":
        return "have a name that is none; use letters, figures and dashes"
    indices = _indices(episodes)
    if len(indices) == 0 or not 0 <= int(indices.min()) <= int(indices.max()) < len(dataset):
        return "name images that are not there"
    ways = episodes.support.shape[1]
    of_class = dataset.labels[episodes.support[:, :, 0]]
    queries = episodes.queries.reshape(len(episodes.queries), ways, -1)
    if not bool((dataset.labels[episodes.support] == of_class[:, :, None]).all()):
        return "have a support of more than one class"
    ordered = of_class.sort(dim=1).values
    if bool((ordered[:, 1:] == ordered[:, :-1]).any()):
        return "have a class twice"
    if not bool((dataset.labels[queries] == of_class[:, :, None]).all()):
        return "ask for other classes than those of the support"
    own = queries[:, :, :, None] == episodes.support[:, :, None, :]
    return "ask for images of the support" if bool(own.any()) else None


def _trials(record: _Episodes) -> Trials:
    support, queries = torch.tensor(record["support"]), torch.tensor(record["queries"])
    if not support.numel() or queries.ndim != 2 or len(support) != len(queries):
        raise ValueError("support is [E, W, S] and queries are [E, W * Q]")
    if queries.shape[1] == 0 or queries.shape[1] % support.shape[1]:
        raise ValueError("each class of an episode has as many queries")
    return Trials(support, queries)


def _indices(episodes: Trials) -> Tensor:
    return torch.cat([episodes.support.flatten(), episodes.queries.flatten()])
