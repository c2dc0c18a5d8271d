"""Arrays of labels from another program: whether they are whole numbers, and text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricforge.errors import DataError

_LAST_CHARACTER = 0x10FFFF  # of Unicode
_MOST = 2**53  # beyond it every float is whole


def are_whole(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each of an array of floats is a whole number, bool of its shape."""
    if values.dtype.itemsize < 8:
        values = values.astype(np.float64)  # 2^53 is beyond a float16
    whole: NDArray[np.bool_] = (np.abs(values) < _MOST) & (values == np.floor(values))
    return whole


def as_text(values: NDArray[Any], what: str) -> NDArray[Any]:
    """Strings [N], or bytes of text in UTF-8, as strings; DataError for any other.

    `what` is the name of the array in errors, e.g. "photos.npz:labels".
    """
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
