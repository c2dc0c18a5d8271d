"""Copies among the images of a dataset, by name, with their classes and their parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricforge.contracts import Dataset
from metricforge.data.split import Split
from metricforge.data.split_rules import PARTS
from metricforge.inspection.near_duplicates import Indices, Likeness
from metricforge.scoring.failures import image_name


@dataclass(frozen=True)
class Copies:
    """Images that are copies of each other: of each, its file or index, its class and its part.

    The part of an image that is in none is "", as of all images if the dataset can't be split.
    """

    images: tuple[str | int, ...]
    classes: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def leak(self) -> bool:
        """Whether the copies are in more than one part, e.g. both trained on and tested."""
        return len(set(self.parts) - {""}) > 1

    @property
    def of_two_classes(self) -> bool:
        """Whether one of the labels is wrong, or two classes are one."""
        return len(set(self.classes)) > 1


@dataclass(frozen=True)
class CopySets:
    """The sets of copies in a dataset: of the same bytes or pixels, and of the same picture.

    `leaks` and `of_two_classes` are the sets of either kind with such an error.
    """

    identical: tuple[Copies, ...]
    alike: tuple[Copies, ...]
    leaks: tuple[Copies, ...]
    of_two_classes: tuple[Copies, ...]

    @classmethod
    def of(cls, likeness: Likeness, dataset: Dataset, split: Split | None) -> CopySets:
        """The copies, with the names of their images in `dataset` and parts in `split`."""
        copies_at = _naming(dataset, split)
        every = [copies_at(indices) for indices in likeness.sets]
        return cls(
            identical=tuple(map(copies_at, likeness.identical)),
            alike=tuple(map(copies_at, likeness.alike)),
            leaks=tuple(copies for copies in every if copies.leak),
            of_two_classes=tuple(copies for copies in every if copies.of_two_classes),
        )

    def to_json(self) -> dict[str, Any]:
        """All of them as plain values."""
        return {kind: [vars(copies) for copies in sets] for kind, sets in vars(self).items()}


def _naming(dataset: Dataset, split: Split | None) -> Callable[[Indices], Copies]:
    part_of = _part_of(dataset, split)

    def copies_at(indices: Indices) -> Copies:
        return Copies(
            tuple(image_name(dataset, int(index)) for index in indices),
            tuple(dataset.classes[label] for label in dataset.labels[indices].tolist()),
            tuple(part_of[indices].tolist()),
        )

    return copies_at


def _part_of(dataset: Dataset, split: Split | None) -> NDArray[np.str_]:
    """The name of each image's part, "" for none."""
    part_of = np.full(len(dataset), "", dtype=f"<U{max(map(len, PARTS))}")
    if split is not None:
        for name in PARTS:
            part_of[split.part(name).numpy()] = name
    return part_of
