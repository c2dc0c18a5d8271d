"""Pair files: pairs of images to verify, as those of Labeled Faces in the Wild.

A CSV with the columns `first` and `second`, each a file of the dataset or an index of an image, and
`same` if it is to be checked against the labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.csv_table import Parser, chosen, is_empty, read_table
from metricforge.data.image_files import name_of
from metricforge.errors import DataError

SAME = {"1": True, "true": True, "same": True, "0": False, "false": False, "different": False}


def read_pairs(path: Path, dataset: Dataset) -> Tensor:
    """The pairs of a file, int64 [P, 2], indices of images of the dataset.

    Raises DataError, naming the row, for anything that is no pair of its images.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file.")
    image = _Images(dataset)
    parsers: dict[str, Parser] = {
        "first": image.index,
        "second": image.index,
        "same": partial(chosen, "same", SAME),
    }
    table = read_table(path, parsers, ("first", "second"))
    first, second = (torch.tensor(table.columns[name]).long() for name in ("first", "second"))
    if not len(first):
        raise DataError(f"{path} lists no pairs.")
    if len(twice := (first == second).nonzero()):
        raise DataError(f"{path}:{table.rows[int(twice[0])]} pairs an image with itself.")
    ordered = torch.stack([first, second], dim=1).sort(dim=1).values
    counts = Counter(map(tuple, ordered.tolist()))
    for row, pair in zip(table.rows, map(tuple, ordered.tolist()), strict=True):
        if counts[pair] > 1:
            raise DataError(f"{path}:{row} lists a pair that is listed {counts[pair]} times.")
    if "same" in table.columns:
        same = dataset.labels[first] == dataset.labels[second]
        if len(wrong := (same != torch.tensor(table.columns["same"]).bool()).nonzero()):
            at = int(wrong[0])
            names = [dataset.classes[int(dataset.labels[rows[at]])] for rows in (first, second)]
            raise DataError(
                f"{path}:{table.rows[at]} differs from the labels, by which its images are of "
                f"{' and '.join(map(repr, names))}."
            )
    return torch.stack([first, second], dim=1)


class _Images:
    """The images of a dataset by the ends of their paths, or by their indices."""

    def __init__(self, dataset: Dataset) -> None:
        self._count, self._name = len(dataset), dataset.name
        self._parts: Sequence[tuple[str, ...]] = ()
        self._by_name: Mapping[str, list[int]] = {}
        if not isinstance(dataset.images, Tensor) and dataset.images:
            self._parts = [PurePath(name_of(file)).parts for file in dataset.images]
            by_name: dict[str, list[int]] = {}
            for index, parts in enumerate(self._parts):
                by_name.setdefault(parts[-1], []).append(index)
            self._by_name = by_name

    def index(self, cell: str) -> int:
        """The index of an image; ValueError, whose message follows the row, for none or several."""
        if is_empty(cell):
            raise ValueError("has no image in a cell.")
        text = cell.strip()
        asked = PurePath(text).parts
        files = [
            index
            for index in self._by_name.get(asked[-1] if asked else "", ())
            if self._parts[index][-len(asked) :] == asked
        ]
        if len(files) > 1:
            raise ValueError(
                f"has '{text}', which {len(files)} images of '{self._name}' end with; write more "
                "of its path."
            )
        if files:
            return files[0]
        if text.isascii() and text.isdigit() and int(text) < self._count:
            return int(text)
        raise ValueError(
            f"has '{text}', which is no file of '{self._name}' and no index below {self._count}."
        )
