"""Labels and groups that index names, and names that are unique."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.testing.checks import Broken


def check_index(values: object, what: str, count: int, limit: int, names: str) -> None:
    if not isinstance(values, Tensor) or values.dtype != torch.int64 or values.shape != (count,):
        actual = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else values
        raise Broken(f"has {what} {actual}; give int64 [{count}], one for each image.")
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest >= limit:
        raise Broken(f"has {what} from {lowest} to {highest} for {limit} {names}; number from 0.")


def check_names(names: object, what: str) -> None:
    if not isinstance(names, tuple) or not all(isinstance(n, str) and n for n in names):
        raise Broken(f"has {what} that are no tuple of non-empty strings; write str(name).")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise Broken(f"has {what} with {twice[0]!r} more than once; make them different.")


def shape_of(dataset: Dataset) -> tuple[int, ...]:
    shape = dataset.shape
    whole = isinstance(shape, tuple) and len(shape) in (1, 3) and all(type(n) is int for n in shape)
    if not whole or min(shape) < 1 or (len(shape) == 3 and shape[0] not in (1, 3)):
        raise Broken(
            f"has the shape {shape!r}; give (channels, height, width), channels 1 or 3, or (length "
            "of a vector,)."
        )
    return shape
