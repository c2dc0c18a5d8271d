"""Sheets of small images: where each lies, and how many bytes they take."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from metricforge.data.images import MemoryImages
from metricforge.exploring.thumbnails import SHEET, SIDES, Thumbnails, thumbnails

RNG = np.random.default_rng(0)


def plain(count: int, channels: int, height: int, width: int) -> MemoryImages:
    """Images of one grey level or colour each."""
    levels = torch.arange(count * channels).view(count, channels, 1, 1) * 7 % 256
    return MemoryImages(levels.expand(-1, -1, height, width).to(torch.uint8).contiguous())


def tile(made: Thumbnails, place: int) -> np.ndarray:
    each = made.across**2
    sheet = np.asarray(Image.open(io.BytesIO(made.sheets[place // each])))
    top, left = divmod(place % each, made.across)
    side = made.side
    return sheet[top * side : (top + 1) * side, left * side : (left + 1) * side]


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_lies_in_its_place(channels: int) -> None:
    images = plain(600, channels, 64, 64)
    indices = torch.arange(599, -1, -1)
    made = thumbnails(images, indices)
    assert (made.side, made.across) == (64, SHEET // 64)
    assert len(made.sheets) == 3
    for place in (0, 1, 15, 16, 255, 256, 599):
        expected = images.take(indices[place : place + 1])[0, :, 0, 0].tolist()
        found = tile(made, place).reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(found, expected * (3 // channels), atol=4)


def test_an_oblong_image_keeps_its_proportions() -> None:
    images = MemoryImages(torch.full((1, 3, 48, 96), 255, dtype=torch.uint8))
    shown = tile(thumbnails(images, torch.arange(1)), 0)
    assert shown.shape == (96, 96, 3)
    assert shown[48].min() > 250
    assert shown[:20].max() < 5
    assert shown[-20:].max() < 5


def test_noise_is_shown_smaller_so_that_it_fits() -> None:
    noise = torch.from_numpy(RNG.integers(0, 256, (300, 3, 160, 160), np.uint8))
    images = MemoryImages(noise)
    large = thumbnails(images, torch.arange(300))
    assert large.side == SIDES[0]
    small = thumbnails(images, torch.arange(300), most_bytes=600_000)
    assert small.side < SIDES[0]
    assert sum(map(len, small.sheets)) < 700_000


def test_small_images_are_not_enlarged() -> None:
    assert thumbnails(plain(4, 1, 28, 28), torch.arange(4)).side == 24
    assert thumbnails(plain(4, 1, 8, 8), torch.arange(4)).side == 24
