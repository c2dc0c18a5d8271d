"""Images embedded for a gallery, with their classes and the hashes of their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.images import open_images
from metricforge.data.model_inputs import Batch, Encodable, batches, fit
from metricforge.data.prefetch import read_ahead
from metricforge.errors import DataError
from metricforge.evaluation.centring import refuse_not_finite
from metricforge.model import EmbeddingModel
from metricforge.scoring.embed import reading_of
from metricforge.scoring.failures import image_name


@dataclass(frozen=True)
class Embedded:
    """Embeddings float32 [N, D], and of each image its class, its name and its hash."""

    rows: NDArray[np.float32]
    classes: Sequence[str]
    names: Sequence[str]
    hashes: Sequence[str]


def embed_images(
    model: EmbeddingModel,
    images: Encodable,
    classes: str | Sequence[str],
    broken: dict[int, str] | None = None,
    done: Callable[[int], object] | None = None,
) -> Embedded:
    """Embed images as `encode` takes them, of one class or of a class each.

    With `broken`, images that can't be decoded are left out, and it gets the index of each with the
    reason; `done` gets the number of each batch. DataError for other numbers of images and classes.
    """
    card = model.card
    parts = batches(images, model.batch, card.shape, card.reading, broken)
    rows, names, hashes = _embed(model, parts, done)
    each = [classes] * len(rows) if isinstance(classes, str) else list(map(str, classes))
    if len(each) != len(rows):
        raise DataError(f"there are {len(rows)} images and {len(each)} classes of them.")
    return Embedded(rows, each, names, hashes)


def embed_dataset(
    model: EmbeddingModel,
    dataset: Dataset,
    indices: Tensor | None = None,
    done: Callable[[int], object] | None = None,
) -> Embedded:
    """Embed a dataset, or the images of some of its indices; `done` gets the number of each batch.

    Files are read as those that the model was trained on, unless the dataset says how.
    """
    indices = torch.arange(len(dataset)) if indices is None else indices
    card = model.card
    reading = reading_of(dataset, model)
    images = open_images(replace(dataset, reading=reading))
    named = (image_name(dataset, index) for index in indices.tolist())
    # An index alone would be the name of an image of any other dataset in memory, too.
    names = [f"{dataset.name}[{each}]" if isinstance(each, int) else each for each in named]

    def parts() -> Iterator[Batch]:
        place = 0
        for batch in read_ahead(images, indices.split(model.batch)):
            yield Batch(names[place : place + len(batch)], fit(batch, card.shape, card.reading))
            place += len(batch)

    rows, _, hashes = _embed(model, parts(), done)
    classes = [dataset.classes[label] for label in dataset.labels[indices].tolist()]
    return Embedded(rows, classes, names, hashes)


def _embed(
    model: EmbeddingModel, parts: Iterable[Batch], done: Callable[[int], object] | None
) -> tuple[NDArray[np.float32], list[str], list[str]]:
    rows = [np.zeros((0, model.card.dim), np.float32)]
    names: list[str] = []
    hashes: list[str] = []
    for batch in parts:
        rows.append(model.embed([batch.images]).float().numpy())
        names += map(str, batch.names)
        hashes += [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in batch.images]
        if done:
            done(len(batch.images))
    found = np.concatenate(rows)
    refuse_not_finite(found)
    return found, names, hashes
