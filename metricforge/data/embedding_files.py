"""Embeddings and labels that another program wrote to files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.class_names import indexed_array
from metricforge.data.csv_table import (
    FLAG_PARSERS,
    FLAGS,
    MISSING,
    group,
    is_empty,
    label,
    part,
    read_table,
)
from metricforge.data.foreign_arrays import are_whole, as_text
from metricforge.errors import ArtefactError, DataError
from metricforge.regular_file import open_regular, read_text


def read_embeddings(path: Path) -> NDArray[np.float32]:
    """Embeddings float32 [N, D] from a .npy file of any real numbers.

    Raises:
        DataError: The array has another shape or kind.
        ArtefactError: The file can't be read.
    """
    return embedding_rows(_array(path), f"{path} holds")


def embedding_rows(values: Any, what: str = "the embeddings are") -> NDArray[np.float32]:
    """Embeddings float32 [N, D] of what `real_rows` takes."""
    # Beyond float32 it is infinite, which `evaluate` refuses by its row.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(real_rows(values, what), dtype=np.float32)


def real_rows(values: Any, what: str, noun: str = "embeddings") -> NDArray[Any]:
    """Rows [N, D] of real numbers from a tensor, an array or nested lists of them.

    DataError for anything else, in a sentence that begins with `what`; `noun` is what they are.
    """
    if np.ma.is_masked(values):
        raise DataError("some embeddings are masked; leave those rows out.")
    values = _numpy(values, what)
    if isinstance(values, list | tuple) and any(isinstance(row, Tensor) for row in values):
        values = [_numpy(row, what) for row in values]
    try:
        rows = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} lists of several lengths: {noun} are [N, D].") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or rows.size == 0:
        raise DataError(
            f"{what} {rows.dtype} {list(rows.shape)}: {noun} are real numbers [N, D], 1 or more."
        )
    return rows


@dataclass(frozen=True)
class Labels:
    """The labels of N embeddings, with the further columns of a CSV.

    Args:
        names: [N] names or numbers, a sequence, array or tensor.
        groups: Group of each embedding, or None.
        queries: bool [N], the embeddings that are queries in retrieval, or None.
        gallery: bool [N], the embeddings that can be retrieved; None if `queries` is None.
        parts: Value of `Dataset.official` of each embedding, or None.
    """

    names: Any
    groups: list[str] | None = None
    queries: NDArray[np.bool_] | None = None
    gallery: NDArray[np.bool_] | None = None
    parts: Sequence[int] | None = None


def read_labels(path: Path, split: bool = False) -> Labels:
    """N labels from a .npy file of whole numbers or strings, a text file with one a line, or a CSV.

    A CSV has a column `label`, and may have `group`, `is_query` and `is_gallery`; with `split` also
    `split`, of train, validation and test.

    Raises:
        DataError: A label is empty or of another kind.
        ArtefactError: The file can't be read.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        return _table(path, split)
    if path.suffix.lower() != ".npy":
        return Labels(_lines(path))
    return Labels(label_array(_array(path), str(path)))


def label_array(values: Any, name: str = "the labels") -> NDArray[Any]:
    """Labels [N] as whole numbers or strings, of a sequence, an array or a tensor [N] or [N, 1].

    DataError for anything else; `name` is the name of the array in errors.
    """
    values = _numpy(values, f"{name} are")
    if np.ma.is_masked(values):
        raise DataError("some labels are masked; leave those rows out.")
    if isinstance(values, list | tuple) and not any(map(np.ndim, values)):
        # numpy would make text of numbers that lie among strings, and cut off a last \0.
        plain = [value.item() if isinstance(value, Tensor) else value for value in values]
        values = np.fromiter(plain, dtype=object, count=len(plain))
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras has them, or a table of one column
        labels = labels[:, 0]
    if labels.dtype.kind == "O":  # as pandas has strings
        labels = _of_objects(labels, name)
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise DataError(
            f"{name}: some are NaN; labels are whole numbers or strings: leave those rows out."
        )
    if labels.dtype.kind == "f" and are_whole(labels).all():
        labels = labels.astype(np.int64)
    if labels.ndim != 1 or labels.dtype.kind not in "biuUS":
        mixed = ", of one kind; none may be None" if labels.dtype.kind == "O" else ""
        raise DataError(
            f"{name}: {labels.dtype} {list(labels.shape)}; labels are whole numbers or strings "
            f"[N]{mixed}."
        )
    if labels.dtype.kind in "US":
        labels = as_text(labels, name)
        if (missing := np.flatnonzero(np.isin(np.char.lower(np.char.strip(labels)), MISSING))).size:
            raise DataError(f"{name}: row {missing[0]} has no label; give each image its label.")
    return labels


def bare_dataset(embeddings: NDArray[Any], values: Any) -> Dataset:
    """Labels as a dataset without images; DataError if they are not those of the embeddings."""
    if values is None:
        raise DataError("embeddings [N, D] need their N labels as the second argument.")
    labels = values if isinstance(values, Labels) else Labels(values)
    known = label_array(labels.names)
    queries, gallery = _flags(labels.queries), _flags(labels.gallery)
    flags = {"query flags": queries, "gallery flags": gallery, "parts": labels.parts}
    groups_of = None if labels.groups is None else label_array(labels.groups, "the groups")
    for what, each in {"labels": known, "groups": groups_of, **flags}.items():
        if each is not None and len(each) != len(embeddings):
            raise DataError(f"{len(embeddings)} embeddings have {len(each)} {what}; give each one.")
    if (queries is None) != (gallery is None):
        raise DataError("queries come with a gallery: flag both, or none.")
    classes = indexed_array(known)
    groups = None if groups_of is None else indexed_array(groups_of, "groups")
    if groups is not None and len(groups.names) < 2:
        groups = None  # one group of all divides nothing
    official = None if labels.parts is None else torch.tensor(labels.parts, dtype=torch.int64)
    return Dataset(
        "embeddings",
        (),
        classes.places,
        classes.names,
        (1, 1, 1),
        official=official,
        groups=None if groups is None else groups.places,
        group_names=() if groups is None else groups.names,
        notes=classes.notes,
        warnings=classes.warnings,
        queries=None if queries is None else torch.from_numpy(queries),
        gallery=None if gallery is None else torch.from_numpy(gallery),
    )


def _flags(values: Any) -> NDArray[np.bool_] | None:
    """Flags as bool [N]; DataError for other values."""
    if values is None:
        return None
    flags = np.array(_numpy(values, "flags are"))  # a copy, as a view of pandas may be read-only
    if flags.ndim == 2 and flags.shape[1] == 1:
        flags = flags[:, 0]
    if flags.ndim != 1 or flags.dtype.kind not in "iub" or not np.isin(flags, (0, 1)).all():
        raise DataError("flags of queries and gallery are true or false, or 1 or 0, [N].")
    return flags.astype(bool)


def _of_objects(values: NDArray[Any], name: str) -> NDArray[Any]:
    """An array of strings, or of numbers; the same array if it is neither.

    DataError for a string that ends in a NUL, which numpy would cut off.
    """
    flat = list(values.ravel())
    if ended := next(
        (value for value in flat if isinstance(value, str) and value[-1:] == "\0"), None
    ):
        raise DataError(f"{name}: {ended!r} ends in a NUL, which is no part of a name.")
    for kind in (str, bytes, Integral, Real):
        if all(isinstance(value, kind) for value in flat):
            return np.array(flat).reshape(values.shape)
    return values


def _numpy(values: Any, what: str) -> Any:
    """A tensor as an array; anything else as it is. DataError for a sparse one."""
    if not isinstance(values, Tensor):
        return values
    if values.layout != torch.strided:
        raise DataError(f"{what} a sparse tensor; pass values.to_dense().")
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _table(path: Path, split: bool) -> Labels:
    _check_exists(path)
    parsers = {"label": label, "group": group, **FLAG_PARSERS} | ({"split": part} if split else {})
    columns = read_table(path, parsers).columns
    queries, gallery = (
        np.array(columns[name], dtype=bool) if name in columns else None for name in FLAGS
    )
    return Labels(
        np.array(columns["label"]), columns.get("group"), queries, gallery, columns.get("split")
    )


def mapped_array(path: Path) -> NDArray[Any]:
    """The array of a .npy file, mapped to memory; what is written to it does not reach the file.

    Raises:
        DataError: There is no such file.
        ArtefactError: The file can't be read.
    """
    return _array(path, "c")


def _array(path: Path, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    _check_exists(path)
    try:
        with open_regular(path) as file:
            npy.read_magic(file)
        # It maps no pickle, and reads no archive.
        return npy.open_memmap(path, mode=mode)
    except MemoryError:
        raise
    # numpy parses a header as Python, and raises whatever a damaged one drives it into.
    except Exception as error:
        raise ArtefactError(
            f"{path} is no .npy file of numbers or strings; write one by numpy.save(path, array), "
            "an array of objects as array.astype(str)."
        ) from error


def _lines(path: Path) -> NDArray[Any]:
    _check_exists(path)
    try:
        # Not by str.splitlines, for which a form feed in a label ends a line as well.
        lines = re.split(r"\r\n|\r|\n", read_text(path))
        lines = lines[:-1] if not lines[-1] else lines
    except (UnicodeDecodeError, OSError) as error:
        raise ArtefactError(f"{path} can't be read as text ({error}).") from error
    for number, line in enumerate(lines, 1):
        if is_empty(line):
            raise DataError(f"{path}:{number} has no label; give each image its label.")
    return np.array(lines)


def _check_exists(path: Path) -> None:
    if not path.exists() or path.is_dir():
        raise DataError(f"{path} is not a file.")
