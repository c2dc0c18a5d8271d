"""Vectors that another program wrote: real numbers, finite, where they lie or in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.data.images import MEMORY_LIMIT
from metricforge.errors import DataError

_CHUNK = 1 << 14  # vectors that are checked at once
_TYPES = (np.float16, np.float32, np.float64)


def vector_tensor(values: NDArray[Any], what: str) -> Tensor:
    """An array of real numbers [N, V] as vectors, float16, float32 or float64 [N, V].

    One that is mapped from a file stays there if it has more than 512 MiB, and is copied to memory
    otherwise: then the file may be replaced. Other types of numbers become float32.

    Args:
        values: The array, not read-only.
        what: Its name in errors, e.g. "the vectors of 'features.npy'".

    Returns:
        The vectors.

    Raises:
        DataError: The array has another shape or kind, or a number is none, infinite or too large
            for float32; the error names its row.
    """
    if values.ndim != 2 or values.dtype.kind not in "fiu" or values.size == 0:
        raise DataError(
            f"{what} are {values.dtype} {list(values.shape)}: vectors are real numbers [N, V]."
        )
    if values.dtype.type not in _TYPES or not values.dtype.isnative:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    elif isinstance(values, np.memmap) and values.nbytes <= MEMORY_LIMIT:
        values = np.array(values)
    vectors = torch.from_numpy(values)
    refuse_not_finite(vectors, what)
    return vectors


def refuse_not_finite(vectors: Tensor, what: str) -> None:
    """DataError, which names the row, for vectors [N, V] with a number that float32 does not have.

    `what` is their name in the error.
    """
    for begin in range(0, len(vectors), _CHUNK):
        finite = vectors[begin : begin + _CHUNK].float().isfinite().all(dim=1)
        if not finite.all():
            row = begin + int(finite.logical_not().nonzero()[0])
            raise DataError(
                f"{what}: row {row} has a number that is NaN, infinite or too large for float32; "
                "leave the row out."
            )
