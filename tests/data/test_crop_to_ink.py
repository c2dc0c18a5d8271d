"""Drawings that are made to fill their image, and files that are read as a dataset says."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from metricforge.contracts import Reading
from metricforge.data.decode import as_tensor, read_image

SIDE = 105


def drawing(left: int, top: int, width: int, height: int, factor: int = 1) -> Image.Image:
    """A dark rectangle on white, `factor` times as large."""
    pixels = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    pixels[top : top + height, left : left + width] = 0
    return Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1))


def framed(image: Image.Image, size: int, margin: float) -> torch.Tensor:
    return as_tensor(image, (1, size, size), reading=Reading(margin))


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
    blank = Image.new("L", (SIDE, SIDE), "white")
    assert torch.equal(framed(blank, 28, 0.1), torch.full((1, 28, 28), 255, dtype=torch.uint8))


@pytest.mark.parametrize("factor", [3, 20])
def test_a_scan_of_many_pixels_becomes_what_the_drawing_does(factor: int) -> None:
    small, large = (framed(drawing(20, 31, 33, 40, n), 32, 0.1).int() for n in (1, factor))
    # The filter sees edges at a fraction of a pixel: some grey levels there, none elsewhere.
    assert (small - large).abs().float().mean() < 4
    assert dark(small) == dark(large)


def test_thin_ink_of_a_large_scan_is_found() -> None:
    pixels = np.full((4000, 3000), 255, dtype=np.uint8)
    pixels[1000:1600, 700:704] = pixels[1000:1004, 700:1300] = 0
    rows, columns = (framed(Image.fromarray(pixels), 64, 0.1)[0] < 250).nonzero(as_tuple=True)
    # Not enlarged beyond .38 of the longer side, in the middle.
    length = 64 * 600 / (0.38 * 4000)
    for places in (rows, columns):
        assert int(places.max() - places.min()) + 1 == pytest.approx(length, abs=2)


def test_thin_ink_is_found_alike_in_all_files() -> None:
    pixels = np.full((1500, 2000), 255, dtype=np.uint8)
    pixels[300:900, 600:604] = pixels[300:304, 600:1200] = 0
    whole = framed(Image.fromarray(pixels), 32, 0.1).int()
    assert whole.min() < 250
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, quality=95)
        found = read_image(file.getvalue(), (1, 32, 32), reading=Reading(0.1)).int()
        assert (found - whole).abs().max() < 10


def test_a_wide_margin_of_a_large_scan_takes_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sides, expanded = [], ImageOps.expand

    def expand(*given: Any, **more: Any) -> Image.Image:
        whole = expanded(*given, **more)
        sides.append(max(whole.size))
        return whole

    monkeypatch.setattr("metricforge.data.crop_to_ink.ImageOps.expand", expand)
    rows, columns = dark(framed(drawing(2, 2, 100, 100, 40), 224, 0.4))
    assert rows.stop - rows.start == columns.stop - columns.start == 44
    # All of it with its margin would have 20,000.
    assert sides == [pytest.approx(224 * 4, rel=0.3)]


def test_beyond_the_drawing_there_is_more_of_its_paper() -> None:
    pixels = np.full((60, 40, 3), (200, 210, 160), dtype=np.uint8)
    pixels[:, 30:] = (20, 0, 90)
    found = as_tensor(Image.fromarray(pixels), (3, 24, 24), reading=Reading(0.1))
    assert found[:, 0, 0].tolist() == found[:, 12, 22].tolist() == [200, 210, 160]
    black = as_tensor(Image.new("RGB", (40, 40)), (3, 20, 20), reading=Reading(0.1))
    assert black[:, 0, 0].tolist() == [255, 255, 255]


def test_colours_keep_white_around_them() -> None:
    image = Image.new("RGB", (40, 40), "white")
    image.paste((0, 0, 90), (30, 0, 40, 10))
    found = as_tensor(image, (3, 20, 20), reading=Reading(0.1))
    assert found[:, 0, 0].tolist() == [255, 255, 255]
    assert found[:, 10, 10].tolist() == [0, 0, 90]


def test_inverted_is_the_last_that_is_done() -> None:
    one = drawing(3, 3, 50, 60)
    inverted = as_tensor(one, (1, 32, 32), reading=Reading(0.1, inverted=True))
    assert torch.equal(inverted, 255 - framed(one, 32, 0.1))


@pytest.mark.parametrize("margin", [-0.1, 0.41, float("nan"), False])
def test_a_margin_leaves_room(margin: float) -> None:
    with pytest.raises(ValueError, match=r"margin is from 0 to 0\.4"):
        Reading(margin)


def test_inverted_is_yes_or_no() -> None:
    with pytest.raises(ValueError, match="inverted is true or false"):
        Reading(inverted="no")
