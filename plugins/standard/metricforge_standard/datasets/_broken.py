"""A dataset without the files that can't be read."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.image_files import Chosen, name_of
from metricforge.data.images import unreadable
from metricforge.errors import DataError
from metricforge_standard.datasets._notes import counted

ADVICE = "With the option broken=skip all images that can't be read are left out."


def without_broken(dataset: Dataset) -> Dataset:
    """The dataset less the files that can't be decoded, and the classes that then have none.

    All are decoded to tell. The notes count and name them. DataError when fewer than two classes
    are left.
    """
    assert not isinstance(dataset.images, Tensor)
    bad = unreadable(dataset.images, dataset.shape)
    if not bad:
        return dataset
    kept = torch.ones(len(dataset), dtype=torch.bool)
    kept[list(bad)] = False
    left, labels = dataset.labels[kept].unique(return_inverse=True)
    lost = sorted(set(range(len(dataset.classes))) - set(left.tolist()))
    if len(left) < 2:
        raise DataError(
            f"of '{dataset.name}', {len(bad)} of {len(dataset)} images can't be read, and fewer "
            f"than two classes are left; the first: {next(iter(bad.values()))}"
        )
    names = [name_of(dataset.images[place]) for place in bad]
    gone = [dataset.classes[place] for place in lost]
    return replace(
        dataset,
        images=Chosen(dataset.images, kept.nonzero().flatten().tolist()),
        labels=labels,
        classes=tuple(dataset.classes[place] for place in left.tolist()),
        groups=_of(dataset.groups, kept),
        official=_of(dataset.official, kept),
        queries=_of(dataset.queries, kept),
        gallery=_of(dataset.gallery, kept),
        notes=(
            *dataset.notes,
            f"images that can't be read, and were left out: {counted(names)}.",
            *([f"classes that have no other images: {counted(gone)}."] if gone else []),
        ),
    )


def _of(values: Tensor | None, kept: Tensor) -> Tensor | None:
    return None if values is None else values[kept]
