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
    """The dataset without files that can't be decoded, and without classes that are then empty.

    All files are decoded. The notes count and name the bad ones. DataError if fewer than two
    classes remain.
    """
    assert not isinstance(dataset.images, Tensor)
    bad = unreadable(dataset.images, dataset.shape, dataset.reading)
    if not bad:
        return dataset
    readable = torch.ones(len(dataset), dtype=torch.bool)
    readable[list(bad)] = False
    remaining, labels = dataset.labels[readable].unique(return_inverse=True)
    lost = sorted(set(range(len(dataset.classes))) - set(remaining.tolist()))
    if len(remaining) < 2:
        raise DataError(
            f"of '{dataset.name}', {len(bad)} of {len(dataset)} images can't be read, and fewer "
            f"than two classes are left; the first: {next(iter(bad.values()))}"
        )
    names = [name_of(dataset.images[index]) for index in bad]
    gone = [dataset.classes[index] for index in lost]
    return replace(
        dataset,
        images=Chosen(dataset.images, readable.nonzero().flatten().tolist()),
        labels=labels,
        classes=tuple(dataset.classes[index] for index in remaining.tolist()),
        groups=_of(dataset.groups, readable),
        official=_of(dataset.official, readable),
        queries=_of(dataset.queries, readable),
        gallery=_of(dataset.gallery, readable),
        notes=(
            *dataset.notes,
            f"images that can't be read, and were left out: {counted(names)}.",
            *([f"classes that have no other images: {counted(gone)}."] if gone else []),
        ),
    )


def _of(values: Tensor | None, mask: Tensor) -> Tensor | None:
    return None if values is None else values[mask]
