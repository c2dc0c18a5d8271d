"""Vectors and labels in the columns of a .parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricforge.data.csv_table import FLAGS, part
from metricforge.data.embedding_files import Labels, label_array
from metricforge.errors import DataError, MetricForgeError, unknown
from metricforge.extras import imported
from metricforge.regular_file import open_regular

MAX_BYTES = 8 << 30
"""The most bytes of vectors, all of which are read to memory."""

FEATURES = ("features", "embedding", "embeddings", "vector")
"""The names of the column of vectors, of which the first that is there is taken."""

KNOWN = ("features", "label", "group", "split", *FLAGS)
_BATCH, _BATCH_BYTES = 1 << 14, 1 << 26  # rows and bytes that are read at once


@dataclass(frozen=True)
class Read:
    """Vectors [N, V], their labels, and sentences on the file."""

    rows: NDArray[Any]
    labels: Labels
    notes: tuple[str, ...]


def read_parquet(path: Path, named: Mapping[str, str]) -> Read:
    """The vectors and labels of a file; `named` has its own names of known columns.

    Raises DataError for a column that is missing or can't be used, UsageError without pyarrow.
    """
    parquet = imported("pyarrow.parquet", "a .parquet file", "parquet")
    with _reading(path), open_regular(path) as file, parquet.ParquetFile(file) as opened:
        names = _columns(path, opened.schema_arrow.names, named)
        features = names.pop("features")
        rows = _vectors(path, opened, features)
        table = opened.read(columns=list(names.values()))
        values = {known: table.column(own).to_pylist() for known, own in names.items()}
    unused = [n for n in opened.schema_arrow.names if n not in (features, *names.values())]
    notes = (f"columns of '{path}' that are not used: {', '.join(unused)}.",) if unused else ()
    return Read(rows, _labels(path, values, names), notes)


def _columns(path: Path, names: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """The file's own name of each known column that is there."""
    has = f"it has {', '.join(map(repr, names)) or 'none'}"
    for known, own in named.items():
        if known not in KNOWN:
            raise unknown("column", known, KNOWN)
        if own not in names:
            raise DataError(f"'{path}' has no column '{own}'; {has}.")
    columns = {name: name for name in KNOWN if name in names} | dict(named)
    if present := [name for name in FEATURES if name in names]:
        columns.setdefault("features", present[0])
    for known in ("features", "label"):
        if known not in columns:
            raise DataError(
                f"'{path}' has no column '{known}'; {has}; name the file's own with the option "
                "columns=features:NAME+label:NAME."
            )
    if sum(flag in columns for flag in FLAGS) == 1:
        raise DataError(f"'{path}' has one of the columns {' and '.join(FLAGS)}; give both.")
    return columns


def _vectors(path: Path, opened: Any, column: str) -> NDArray[Any]:
    """The vectors of a column [N, V], read in batches of rows."""
    rows: NDArray[Any] | None = None
    count, begin = opened.metadata.num_rows, 0
    first = next(opened.iter_batches(1, columns=[column]), None)
    fitting = _BATCH_BYTES // max(1, first.nbytes) if first else 0
    for batch in opened.iter_batches(max(1, min(fitting, _BATCH)), columns=[column]):
        part = _batch(path, batch.column(0), column, begin)
        if rows is None:
            size = count * part.shape[1] * part.dtype.itemsize
            if size > MAX_BYTES:
                raise DataError(
                    f"the vectors of '{path}' take {size:,} bytes, and more than {MAX_BYTES:,} are "
                    "refused; save them as .npy, which is read when it is needed."
                )
            rows = np.empty((count, part.shape[1]), part.dtype)
        if part.shape[1] != rows.shape[1]:
            raise DataError(
                f"{path}:{column}[{begin}] has {part.shape[1]} numbers, and others "
                f"{rows.shape[1]}; vectors are of one length."
            )
        rows[begin : begin + len(part)] = part
        begin += len(part)
    if rows is None:
        raise DataError(f"'{path}' has no rows.")
    if begin < count:
        raise DataError(f"'{path}' is damaged: it has {begin:,} of its {count:,} rows.")
    return rows


def _batch(path: Path, values: Any, column: str, begin: int) -> NDArray[Any]:
    """Some vectors [M, V] of a column, the first of which is row `begin`."""
    if not hasattr(values, "flatten") or not hasattr(values, "value_lengths"):
        raise DataError(f"'{path}' has {values.type} in the column '{column}', not lists.")
    if values.null_count:
        missing = begin + next(i for i, valid in enumerate(values.is_valid()) if not valid.as_py())
        raise DataError(f"{path}:{column}[{missing}] is missing; leave the row out.")
    flat = values.flatten()
    if flat.null_count or flat.type.num_fields or str(flat.type).rstrip("0123456789") not in _TYPES:
        raise DataError(
            f"'{path}' has lists of {flat.type} in the column '{column}'"
            f"{', some of which lack numbers' if flat.null_count else ''}; vectors are numbers."
        )
    lengths = values.value_lengths().to_numpy(zero_copy_only=False)
    if len(odd := np.flatnonzero(lengths != lengths[0])):
        raise DataError(
            f"{path}:{column}[{begin + odd[0]}] has {lengths[odd[0]]} numbers, and others "
            f"{lengths[0]}; vectors are of one length."
        )
    numbers: NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    return numbers.reshape(len(values), int(lengths[0]))


_TYPES = ("halffloat", "float", "double", "int", "uint")


def _labels(path: Path, values: Mapping[str, list[Any]], names: Mapping[str, str]) -> Labels:
    """The labels of the rows, from the values of the known columns; those may be None."""
    for known, column in values.items():
        if known != "group" and None in column:
            raise DataError(f"{path}:{names[known]}[{column.index(None)}] is missing; give it.")
    groups = values.get("group")
    queries, gallery = (np.array(values[flag]) if flag in values else None for flag in FLAGS)
    return Labels(
        label_array(values["label"], f"{path}:{names['label']}"),
        None if groups is None else ["" if each is None else str(each) for each in groups],
        queries,
        gallery,
        _parts(path, values["split"], names["split"]) if "split" in values else None,
    )


def _parts(path: Path, values: Sequence[Any], column: str) -> list[int]:
    parts = []
    for index, value in enumerate(values):
        try:
            parts.append(part(str(value)))
        except ValueError as error:
            raise DataError(f"{path}:{column}[{index}] {error}") from error
    return parts


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns any error of a damaged file into a DataError."""
    try:
        yield
    except (MetricForgeError, MemoryError):
        raise
    # pyarrow raises its own errors, and those of Python, for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(f"'{path}' can't be read as a .parquet file ({reason}).") from error
