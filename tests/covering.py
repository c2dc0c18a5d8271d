"""Parameters of a test: few sets in which each value comes, the full product when all is tested."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest


def covering(*axes: Sequence[Any]) -> list[Any]:
    """The product of the axes; all but as many sets as the longest axis has are `exhaustive`.

    The n-th of those has the n-th value of each axis, which begins anew where it is shorter.
    """
    rows = range(max(map(len, axes)))
    places = {tuple(row % len(axis) for axis in axes) for row in rows}
    return [
        pytest.param(
            *(axis[place] for axis, place in zip(axes, at, strict=True)),
            marks=() if at in places else pytest.mark.exhaustive,
        )
        for at in product(*(range(len(axis)) for axis in axes))
    ]
