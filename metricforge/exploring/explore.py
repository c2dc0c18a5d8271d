"""A run's images as a page to look around in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metricforge.atomic_files import check_writable, write_file
from metricforge.contracts import Dataset
from metricforge.data.image_files import names_below
from metricforge.data.images import open_images
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.evaluation import Ints
from metricforge.exploring.page import Content, page
from metricforge.exploring.spaces import Space
from metricforge.exploring.thumbnails import thumbnails
from metricforge.judging.held_out import ALL, Tested
from metricforge.judging.part_choice import tested_part
from metricforge.judging.subject import Subject, load_model, run_of, untrained_model
from metricforge.model import EmbeddingModel
from metricforge.registry import Registry
from metricforge.report.progress import count_line
from metricforge.runs.run import Run
from metricforge.scoring.baselines import TRAINED
from metricforge.scoring.embed import embed

MOST = 50_000
"""Images that a page shows; browsers draw more, and take long to open it."""

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Explored:
    """A page that was written.

    Args:
        path: The file.
        dataset: Name of the dataset.
        part: Its part, e.g. "test".
        images: The number of images.
        classes: The number of their classes.
        bytes: The size of the file.
        notes: Sentences for the user.
    """

    path: Path
    dataset: str
    part: str
    images: int
    classes: int
    bytes: int
    notes: tuple[str, ...] = ()


def explore(
    subject: Subject,
    out: str | Path,
    *,
    images: Any = None,
    part: str | None = None,
    data_root: str | None = None,
    device: str = "auto",
    registry: Registry | None = None,
    progress: bool = False,
) -> Explored:
    """Write one HTML file with a map of a run's images, and the neighbours of each.

    It needs no server and no network. The network before training stands beside the trained one,
    if it can be built anew.

    Args:
        subject: A run, its folder, or a model.
        out: The file.
        images: Dataset to show. Default: that of the run.
        part: "train", "validation", "test" or "all". Default: the held-out test classes.
        data_root: Folder of the run's dataset. Default: that of its recipe.
        device: "auto", "cpu", "cuda" or "mps".
        registry: Registry of components. Default: what is installed.
        progress: Whether to print how many images are embedded.

    Returns:
        What was written.

    Raises:
        DataError: There are fewer than two images, or too many for a page.
    """
    registry, path = registry or Registry.installed(), Path(out)
    check_writable(path)
    run = run_of(subject)
    model = load_model(subject, device, registry)
    tested = tested_part(model, run, images, part, True, data_root, registry)
    count = len(tested.indices)
    if count < 2:
        raise DataError(f"a map takes two images or more; the part '{tested.name}' has {count}.")
    if count > MOST:
        raise DataError(
            f"a page shows {MOST:,} images at most, and '{tested.name}' has {count:,}: take a "
            "smaller part of them (--part), or of the dataset."
        )
    before, missing = _before(model, run, registry)
    models = {TRAINED: model} | before
    with count_line("images", count * len(models), progress) as done:
        embedded = embed(models, tested.decoded, tested.indices, False, done)
    labels = tested.dataset.labels[tested.indices].numpy()
    spaces = [Space.of(name, rows.numpy(), labels) for name, rows in embedded.rows.items()]
    text = page(_content(tested, model, labels, spaces))
    write_file(path, text)
    return Explored(
        path,
        tested.dataset.name,
        tested.name,
        count,
        len(np.unique(labels)),
        len(text.encode()),
        (*tested.notes, *missing),
    )


def _before(
    model: EmbeddingModel, run: Run | None, registry: Registry
) -> tuple[dict[str, EmbeddingModel], tuple[str, ...]]:
    """The network before training by its name, or why it is not shown."""
    if run is None:
        return {}, ()
    try:
        name, before = untrained_model(model, run, registry)
    except (ArtefactError, UsageError) as error:
        reason = str(error).partition(":")[0]  # behind it stands what helps other commands
        return {}, (f"the network before training is not shown: {reason}.",)
    return {name: before}, ()


def _content(tested: Tested, model: EmbeddingModel, labels: Ints, spaces: list[Space]) -> Content:
    dataset, indices = tested.dataset, tested.indices
    groups = None if dataset.groups is None else dataset.groups[indices].numpy()
    return Content(
        title=dataset.name,
        about=f"{len(indices):,} images of {len(np.unique(labels)):,} classes, {tested.name}",
        names=_names(dataset, indices),
        labels=labels,
        classes=dataset.classes,
        groups=groups,
        group_names=dataset.group_names if groups is not None else (),
        parts=_parts(tested),
        part_names=PARTS,
        spaces=spaces,
        thumbnails=None
        if model.card.of_vectors
        else thumbnails(open_images(tested.decoded), indices),
    )


def _names(dataset: Dataset, indices: Tensor) -> list[str]:
    """Of each image its file below the folder of all, or its index; no path of this machine."""
    chosen = indices.tolist()
    if isinstance(dataset.images, Tensor) or not len(dataset.images):
        return [f"{dataset.name}[{index}]" for index in chosen]
    names = list(names_below(dataset.images))
    return [names[index] for index in chosen]


def _parts(tested: Tested) -> Ints:
    """The part of each image: that which is shown, or by the run's split."""
    if tested.name != ALL:
        return np.full(len(tested.indices), PARTS.index(tested.name))
    parts = torch.full((len(tested.dataset),), PARTS.index("test"))
    if tested.split is not None:
        for number, name in enumerate(PARTS):
            parts[tested.split.part(name)] = number
    own: Tensor = parts[tested.indices]
    return own.numpy()
