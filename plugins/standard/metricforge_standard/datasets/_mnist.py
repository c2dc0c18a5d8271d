"""MNIST and the datasets in its format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.datasets.mnist import read_image_file, read_label_file

from metricforge.contracts import TEST, TRAIN, Dataset
from metricforge.errors import DataError
from metricforge_standard.datasets._download import scratch
from metricforge_standard.datasets._pixels import check_size, resized

_COUNTS = {"train": 60_000, "t10k": 10_000}
_FILES = [f"{part}-{kind}-ubyte" for part in _COUNTS for kind in ("images-idx3", "labels-idx1")]


def read_mnist(root: Path, name: str, source: Any, classes: Sequence[str], size: int) -> Dataset:
    """The dataset of torchvision's class `source`, from `root/CLASS/raw`, downloaded if missing.

    Raises DataError when it can't be downloaded, or its files are damaged.
    """
    check_size(size, name)
    raw = root / source.__name__ / "raw"
    if not all((raw / file).is_file() for file in _FILES):
        _download(root, raw, name, source)
    images, labels = zip(*(_read(raw, part) for part in _COUNTS), strict=True)
    return Dataset(
        name=name,
        images=resized(torch.cat(images), size),
        labels=torch.cat(labels),
        classes=tuple(classes),
        shape=(1, size, size),
        official=torch.tensor([TRAIN] * _COUNTS["train"] + [TEST] * _COUNTS["t10k"]),
    )


def _download(root: Path, raw: Path, name: str, source: Any) -> None:
    with scratch(root, name, raw) as folder:
        # torchvision fetches both parts, and checks the checksum of each file.
        source(folder, download=True)
        raw.mkdir(parents=True, exist_ok=True)
        for file in _FILES:
            (folder / source.__name__ / "raw" / file).replace(raw / file)


def _read(raw: Path, part: str) -> tuple[Tensor, Tensor]:
    # Not through the dataset class, which would first look for a pickle of an older version.
    try:
        images = read_image_file(str(raw / f"{part}-images-idx3-ubyte"))
        labels = read_label_file(str(raw / f"{part}-labels-idx1-ubyte"))
    # The readers raise any exception for a damaged file.
    except Exception as error:
        raise _damaged(raw, part) from error
    count = _COUNTS[part]
    if images.shape != (count, 28, 28) or labels.shape != (count,) or int(labels.max()) > 9:
        raise _damaged(raw, part)
    return images, labels


def _damaged(raw: Path, part: str) -> DataError:
    return DataError(
        f"the files '{part}-*' in '{raw}' do not hold {_COUNTS[part]} images of 28 x 28 and "
        "their labels; delete them to have them downloaded again."
    )
