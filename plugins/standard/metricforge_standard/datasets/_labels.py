"""Arrays of labels and flags, one value an image, as tensors; errors name invalid values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import TEST, TRAIN, VALIDATION
from metricforge.data.class_names import Indexed, indexed_array
from metricforge.errors import DataError

_PARTS = {"train": TRAIN, "validation": VALIDATION, "val": VALIDATION, "test": TEST}
_NONE = ("", "nan")
_LAST_CHARACTER = 0x10FFFF  # of Unicode


def indexed(values: NDArray[Any], what: str) -> Indexed:
    """The distinct values as names, in natural order, and the index of each value's name.

    `what` is the name of the array in errors, e.g. "photos.npz:labels"; one of its values is then
    "photos.npz:labels[3]".
    """
    names = _text(values, what) if values.dtype.kind in "US" else _whole(values, what)
    return indexed_array(names, what)


def tested_parts(parts: Tensor) -> Tensor:
    """Values of `Dataset.official` [N]; without a test part, validation tests, as in OML."""
    if (parts == TEST).any():
        return parts
    return torch.where(parts == VALIDATION, TEST, parts)


def parts(values: NDArray[Any], what: str) -> Tensor:
    """Values of `Dataset.official` [N], from the names of the parts in any case."""
    if values.dtype.kind not in "US":
        raise DataError(f"{what} is {values.dtype}, not strings; write train, validation or test.")
    names = [str(value).strip().lower() for value in _text(values, what)]
    for index, name in enumerate(names):
        if name not in _PARTS:
            raise DataError(f"{what}[{index}] is '{name}'; choices: {', '.join(_PARTS)}.")
    return torch.tensor([_PARTS[name] for name in names])


def flags(values: NDArray[Any], what: str) -> Tensor:
    """Flags, bool [N]."""
    if values.dtype != np.bool_:
        raise DataError(f"{what} is {values.dtype}; save it as bool.")
    return torch.from_numpy(values)


def decoded(values: NDArray[Any], what: str) -> NDArray[Any]:
    """Strings, or bytes of text in UTF-8, as strings; DataError for any other."""
    if values.dtype.kind == "S":
        try:
            return np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{what} is no text in UTF-8 ({error}); save it as str.") from error
    # Four bytes of a numpy string need not be a character, and would fail later.
    kind = np.dtype(np.uint32).newbyteorder(values.dtype.byteorder)
    codes = np.frombuffer(values.tobytes(), kind)
    wrong = (codes > _LAST_CHARACTER) | ((codes >= 0xD800) & (codes <= 0xDFFF))
    if wrong.any():
        index = int(wrong.argmax()) // (len(codes) // len(values))
        raise DataError(
            f"{what}[{index}] is no text: it has {int(codes[wrong.argmax()]):#x}, which is no "
            "character; save it anew as str."
        )
    return values


def _text(values: NDArray[Any], what: str) -> NDArray[Any]:
    values = decoded(values, what)
    lacking = np.isin(np.char.lower(np.char.strip(values)), _NONE)
    _refuse(lacking, values, what)
    return values


def _whole(values: NDArray[Any], what: str) -> NDArray[Any]:
    """The values as whole numbers."""
    if values.dtype.kind not in "iuf":
        raise DataError(f"{what} is {values.dtype}; save whole numbers or strings.")
    if values.dtype.kind != "f":
        return values
    # Beyond 2^53 every float is whole.
    _refuse(~(np.abs(values) < 2**53) | (values != np.floor(values)), values, what)
    return values.astype(np.int64)


def _refuse(wrong: NDArray[np.bool_], values: NDArray[Any], what: str) -> None:
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(
            f"{what}[{index}] is '{values[index]}', which names nothing; name it, or leave its "
            "image out."
        )
