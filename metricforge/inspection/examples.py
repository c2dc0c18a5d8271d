"""A random sample of images of some classes of a dataset, as the network gets them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.images import open_images
from metricforge.errors import UsageError


@dataclass(frozen=True)
class Examples:
    """Names of classes, and images uint8 [n, C, H, W] of each."""

    classes: tuple[str, ...]
    images: tuple[NDArray[np.uint8], ...]


def draw_examples(
    dataset: Dataset, among: Tensor, classes: int = 12, per_class: int = 8, seed: int = 0
) -> Examples:
    """Up to `per_class` images of each of `classes` classes, of the images `among` (int64 [M]).

    Classes and images are in the dataset's order; all are drawn if there are fewer. Only drawn
    images are read. Raises UsageError for vectors, a count below 1 or a negative seed, DataError
    for an image that can't be read.
    """
    if dataset.of_vectors:
        raise UsageError(f"'{dataset.name}' has vectors, which have no picture.")
    if classes < 1 or per_class < 1 or seed < 0:
        raise UsageError("classes and per_class are at least 1, and the seed is 0 or more.")
    rng = np.random.default_rng(seed)
    labels = dataset.labels[among].numpy()
    drawn = _some(np.unique(labels), classes, rng)
    chosen = [among[_some(np.flatnonzero(labels == label), per_class, rng)] for label in drawn]
    # Without memory and cache, only the drawn files are read.
    opened = open_images(replace(dataset, cache=None), memory_limit=-1)
    images = opened.take(torch.cat(chosen))
    return Examples(
        classes=tuple(dataset.classes[label] for label in drawn),
        images=tuple(part.numpy() for part in images.split([len(part) for part in chosen])),
    )


def _some(values: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A sorted random sample of `count` of the values."""
    return np.sort(rng.permutation(values)[:count])
