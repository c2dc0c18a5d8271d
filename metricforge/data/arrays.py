"""Embeddings and labels that another program wrote to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricforge.errors import ArtefactError, DataError


def read_embeddings(path: Path) -> NDArray[np.float32]:
    """Embeddings float32 [N, D] from a .npy file of any real numbers.

    Raises DataError for another shape or kind, ArtefactError for a file that can't be read.
    """
    rows = _array(path)
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or rows.size == 0:
        raise DataError(
            f"{path} holds {rows.dtype} {list(rows.shape)}: embeddings are numbers [N, D]."
        )
    return np.asarray(rows, dtype=np.float32)


def read_labels(path: Path) -> NDArray[Any]:
    """N labels, whole numbers or strings, from a .npy file or a text file with one a line.

    Raises DataError for labels of another kind or an empty line, ArtefactError for a file that
    can't be read.
    """
    if path.suffix != ".npy":
        return _lines(path)
    labels = _array(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise DataError(
            f"{path} holds {labels.dtype} {list(labels.shape)}: labels are whole numbers or "
            "strings [N]."
        )
    return labels


def _array(path: Path) -> NDArray[Any]:
    _check_there(path)
    try:
        # Without pickles a file of objects is refused unopened.
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ArtefactError(f"{path} is no .npy file of numbers or strings ({error}).") from error
    if not isinstance(loaded, np.ndarray):
        raise ArtefactError(f"{path} is no .npy file, but an archive of several.")
    return loaded


def _lines(path: Path) -> NDArray[Any]:
    _check_there(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise ArtefactError(f"{path} can't be read as text ({error}).") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise DataError(f"{path}:{number} is empty: give each image its label.")
    return np.array([line.strip() for line in lines])


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path} is not a file.")
