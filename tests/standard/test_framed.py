"""Drawings that are made to fill their image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metricforge_standard.datasets._framed import framed

SIDE = 105


def drawing(left: int, top: int, width: int, height: int) -> torch.Tensor:
    """A dark rectangle on white."""
    pixels = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    pixels[top : top + height, left : left + width] = 0
    return torch.from_numpy(pixels)[None]


def dark(image: torch.Tensor) -> tuple[slice, slice]:
    """Rows and columns of the ink."""
    rows, columns = (image[0] < 128).nonzero(as_tuple=True)
    return (
        slice(int(rows.min()), int(rows.max()) + 1),
        slice(int(columns.min()), int(columns.max()) + 1),
    )


@given(
    st.integers(0, 60), st.integers(0, 60), st.integers(20, 45), st.integers(20, 45),
    st.sampled_from([0.0, 0.1, 0.25]), st.sampled_from([28, 40, 64]),
)  # fmt: skip
def test_the_longer_side_fills_the_image_but_for_its_margin(
    left: int, top: int, width: int, height: int, margin: float, size: int
) -> None:
    small = framed(drawing(left, top, width, height), size, margin)
    assert small.shape == (1, size, size)
    assert small.dtype == torch.uint8
    rows, columns = dark(small)
    # What would need to be enlarged further is not.
    side = max(max(width, height) / (1 - 2 * margin), 0.38 * SIDE)
    for part, length in ((rows, height), (columns, width)):
        assert part.stop - part.start == pytest.approx(size * length / side, abs=1)
        assert (part.start + part.stop) / 2 == pytest.approx(size / 2, abs=1)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_where_it_was_drawn_makes_no_difference(a: int, b: int, c: int, d: int) -> None:
    one, other = (framed(drawing(x, y, 30, 41), 32, 0.1) for x, y in ((a, b), (c, d)))
    assert torch.equal(one, other)


def test_a_small_dot_stays_one_and_an_empty_drawing_is_empty() -> None:
    rows, columns = dark(framed(drawing(3, 90, 4, 4), 32, 0.1))
    assert rows.stop - rows.start == columns.stop - columns.start == 4
    blank = torch.full((1, SIDE, SIDE), 255, dtype=torch.uint8)
    assert torch.equal(framed(blank, 28, 0.1), torch.full((1, 28, 28), 255, dtype=torch.uint8))
