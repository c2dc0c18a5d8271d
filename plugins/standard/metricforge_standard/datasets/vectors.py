"""Vectors that any model has embedded, in a .npy or a .parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.embedding_files import Labels, bare_dataset, mapped_array, read_labels
from metricforge.data.vectors import vector_tensor
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge_standard.datasets._columns import named_columns
from metricforge_standard.datasets._labels import tested_parts
from metricforge_standard.datasets._notes import (
    flag_notes,
    shared_classes,
    single_image_note,
    untested_note,
)
from metricforge_standard.datasets._parquet import read_parquet


def vectors(*, path: Path, labels: Path | None = None, columns: str = "") -> Dataset:
    """Vectors that any model has embedded, [N, V], with their labels, in a .npy or .parquet file.

    A .npy file needs `labels`, and of more than 512 MiB it is read when it is needed. A .parquet
    file needs the extra `parquet`. Its columns are:

    - `features` (or embedding, embeddings, vector): lists of V numbers;
    - `label`: the class name, a string or a whole number;
    - `group`, `split`, `is_query` and `is_gallery`, all optional. The split is train, validation
      and test; if none is test, validation is the test part.

    Args:
        path: The file.
        labels: The labels of a .npy file: a .npy of whole numbers or strings, a text file with one
            a line, or a CSV with a column `label`, and others as of a .parquet file.
        columns: The .parquet file's own names of columns, with + between:
            `features:clip+label:class`.

    Raises:
        DataError: A value can't be used; the error names its row.
        UsageError: An option is missing, or is one of the other kind of file.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise DataError(f"option 'path' of dataset 'vectors': '{path}' {what}.")
    rows, known, notes = _read(path, labels, columns)
    tensor = vector_tensor(rows, f"the vectors of '{path}'")
    bare = bare_dataset(rows, known)
    if len(bare.classes) < 2:
        raise DataError(f"'{path}' has only one class, '{bare.classes[0]}'; it needs two or more.")
    official = tested_parts(bare.official)
    return replace(
        bare,
        name=path.stem,
        images=tensor,
        shape=tuple(tensor.shape[1:]),
        official=official,
        notes=(*bare.notes, *notes, *_notes(path, bare, official)),
    )


def _read(
    path: Path, labels: Path | None, columns: str
) -> tuple[NDArray[Any], Labels, tuple[str, ...]]:
    """The vectors, their labels, and notes on the file."""
    if path.suffix.lower() == ".parquet":
        if labels is not None:
            raise UsageError("labels are a column of a .parquet file: leave the option labels out.")
        table = read_parquet(path, named_columns(columns, "vectors", "features:NAME+label:NAME"))
        return table.rows, table.labels, table.notes
    if columns:
        raise UsageError("columns are those of a .parquet file: leave the option columns out.")
    if labels is None:
        raise UsageError(
            f"'{path}' has vectors without labels: write vectors:path={path},labels=FILE, with a "
            ".npy, .txt or .csv file of N labels."
        )
    try:
        return mapped_array(path), read_labels(labels, split=True), ()
    except ArtefactError as error:
        raise DataError(str(error)) from error


def _notes(path: Path, dataset: Dataset, official: Tensor | None) -> Iterator[str]:
    counts = dataset.labels.bincount()
    single = [dataset.classes[index] for index in (counts == 1).nonzero().flatten().tolist()]
    if single:
        yield single_image_note(single)
    yield from untested_note(path, dataset.official, official)
    yield from flag_notes(path, dataset.queries, dataset.gallery, official)
    yield from shared_classes(path, dataset.labels, official, dataset.classes)
