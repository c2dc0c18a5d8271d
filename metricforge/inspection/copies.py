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
from metricforge.inspection.near_duplicates import Likeness, Places
from metricforge.scoring.failures import image_name


@dataclass(frozen=True)
class Copies:
    """Images that are copies of each other: of each, its file or place, its class and its part.

    A part is "" for an image in none, as all are where the dataset can't be split.
    """

    images: tuple[str | int, ...]
    classes: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def leak(self) -> bool:
        """Whether what is tested, or chosen by, is also trained on."""
        return len(set(self.parts) - {""}) > 1

    @property
    def of_two_classes(self) -> bool:
        """Whether one of the labels is wrong, or two classes are one."""
        return len(set(self.classes)) > 1


@dataclass(frozen=True)
class CopySets:
    """The sets of copies in a dataset: of the same bytes or pixels, and of the same picture.

    `leaks` and `of_two_classes` are those of either kind that are wrong in this way.
    """

    identical: tuple[Copies, ...]
    alike: tuple[Copies, ...]
    leaks: tuple[Copies, ...]
    of_two_classes: tuple[Copies, ...]

    @classmethod
    def of(cls, found: Likeness, dataset: Dataset, split: Split | None) -> CopySets:
        """The copies that were found, by the names that `dataset` and `split` give them."""
        named = _naming(dataset, split)
        every = [named(places) for places in found.sets]
        return cls(
            identical=tuple(map(named, found.identical)),
            alike=tuple(map(named, found.alike)),
            leaks=tuple(copies for copies in every if copies.leak),
            of_two_classes=tuple(copies for copies in every if copies.of_two_classes),
        )

    def to_json(self) -> dict[str, Any]:
        """All of them as plain values."""
        return {kind: [vars(copies) for copies in sets] for kind, sets in vars(self).items()}


def _naming(dataset: Dataset, split: Split | None) -> Callable[[Places], Copies]:
    part_of = _part_of(dataset, split)

    def named(places: Places) -> Copies:
        return Copies(
            tuple(image_name(dataset, int(place)) for place in places),
            tuple(dataset.classes[label] for label in dataset.labels[places].tolist()),
            tuple(part_of[places].tolist()),
        )

    return named


def _part_of(dataset: Dataset, split: Split | None) -> NDArray[np.str_]:
    """The name of the part that each image is in."""
    part_of = np.full(len(dataset), "", dtype=f"<U{max(map(len, PARTS))}")
    if split is not None:
        for name in PARTS:
            part_of[split.part(name).numpy()] = name
    return part_of
