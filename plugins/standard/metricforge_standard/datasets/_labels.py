"""Arrays of labels and flags, one value an image, as tensors; errors name invalid values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import TEST, VALIDATION
from metricforge.data.class_names import Indexed, indexed_array
from metricforge.data.csv_table import PARTS
from metricforge.data.foreign_arrays import are_whole, as_text
from metricforge.errors import DataError

_NONE = ("", "nan")


def indexed(values: NDArray[Any], what: str) -> Indexed:
    """The distinct values as names, in natural order, and the index of each value's name.

    `what` is the name of the array in errors, e.g. "photos.npz:labels"; one of its values is then
    "photos.npz:labels[3]".
    """
    names = _text(values, what) if values.dtype.kind in "US" else _whole(values, what)
    return indexed_array(names, what)


def tested_parts(parts: Tensor | None) -> Tensor | None:
    """Values of `Dataset.official` [N]; without a test part, validation tests, as in OML."""
    if parts is None or (parts == TEST).any():
        return parts
    return torch.where(parts == VALIDATION, TEST, parts)


def parts(values: NDArray[Any], what: str) -> Tensor:
    """Values of `Dataset.official` [N], from the names of the parts in any case."""
    if values.dtype.kind not in "US":
        raise DataError(f"{what} is {values.dtype}, not strings; write train, validation or test.")
    names = [str(value).strip().lower() for value in _text(values, what)]
    for index, name in enumerate(names):
        if name not in PARTS:
            raise DataError(f"{what}[{index}] is '{name}'; choices: {', '.join(PARTS)}.")
    return torch.tensor([PARTS[name] for name in names])


def flags(values: NDArray[Any], what: str) -> Tensor:
    """Flags, bool [N]."""
    if values.dtype != np.bool_:
        raise DataError(f"{what} is {values.dtype}; save it as bool.")
    return torch.from_numpy(values)


def _text(values: NDArray[Any], what: str) -> NDArray[Any]:
    values = as_text(values, what)
    lacking = np.isin(np.char.lower(np.char.strip(values)), _NONE)
    _refuse(lacking, values, what)
    return values


def _whole(values: NDArray[Any], what: str) -> NDArray[Any]:
    """The values as whole numbers."""
    if values.dtype.kind not in "iuf":
        raise DataError(f"{what} is {values.dtype}; save whole numbers or strings.")
    if values.dtype.kind != "f":
        return values
    _refuse(~are_whole(values), values, what)
    return values.astype(np.int64)


def _refuse(wrong: NDArray[np.bool_], values: NDArray[Any], what: str) -> None:
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(
            f"{what}[{index}] is '{values[index]}', which names nothing; name it, or leave its "
            "image out."
        )
