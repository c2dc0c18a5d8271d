"""Parameters of a test: few sets in which each value comes, the full product when all is tested."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest


def covering(*axes: Sequence[Any]) -> list[Any]:
    """The product of the axes; all but as many sets as the longest axis has are `exhaustive`.

    The n-th of those has the n-th value of each axis, which begins anew where it is shorter.
    """
    rows = range(max(map(len, axes)))
    return _marked(axes, {tuple(row % len(axis) for axis in axes) for row in rows})


def pairwise(*axes: Sequence[Any]) -> list[Any]:
    """The same; each value of an axis meets each value of every other in a set that is kept."""
    met = {at: {*combinations(enumerate(at), 2)} for at in _places(axes)}
    missing, kept = set().union(*met.values()), set()
    while missing:
        kept.add(best := max(met, key=lambda at: len(met[at] & missing)))
        missing -= met[best]
    return _marked(axes, kept)


def _places(axes: Sequence[Sequence[Any]]) -> list[tuple[int, ...]]:
    return list(product(*(range(len(axis)) for axis in axes)))


def _marked(axes: Sequence[Sequence[Any]], kept: set[tuple[int, ...]]) -> list[Any]:
    return [
        pytest.param(
            *(axis[place] for axis, place in zip(axes, at, strict=True)),
            marks=() if at in kept else pytest.mark.exhaustive,
        )
        for at in _places(axes)
    ]
