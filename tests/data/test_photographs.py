"""Photographs are told from drawings by their tones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from metricforge_standard.datasets.digits import digits
from metricforge_standard.datasets.glyphs import glyphs
from sklearn.datasets import load_sample_image
from torch import Tensor

from metricforge.data.images import MemoryImages
from metricforge.data.photographs import are_photographs, tones


def photographs(size: int) -> Tensor:
    """Parts of scikit-learn's two photographs, uint8 [N, 3, size, size]."""
    found = []
    for name in ("china.jpg", "flower.jpg"):
        image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)
        parts = image.unfold(1, 400, 27).unfold(2, 400, 60).permute(1, 2, 0, 3, 4).flatten(0, 1)
        found.append(F.interpolate(parts.float(), (size, size), mode="area").to(torch.uint8))
    return torch.cat(found)


def test_tones_by_hand() -> None:
    plain = torch.zeros(4, 1, 10, 10, dtype=torch.uint8)
    plain[1, :, :2] = 255  # two tones, the second of a fifth
    plain[2, :, :1] = 255  # a tenth of ink is not counted
    plain[3] = torch.arange(100).view(10, 10) * 2  # 200 levels, eight to a tone
    assert tones(plain).tolist() == [1, 2, 1, 23]


@pytest.mark.parametrize("size", [32, 96])
def test_photographs_are_told_in_colour_and_in_grey(size: int) -> None:
    images = photographs(size)
    for shown in (images, images.float().mean(1, keepdim=True).to(torch.uint8)):
        assert are_photographs(MemoryImages(shown), torch.arange(len(shown)))


@pytest.mark.parametrize("size", [28, 64])
def test_drawings_are_none(size: int) -> None:
    images = MemoryImages(glyphs(per_class=1, size=size).images)
    assert not are_photographs(images, torch.arange(len(images)))
    # In colour, too.
    inked = MemoryImages(images.take(torch.arange(64)).expand(-1, 3, -1, -1).clone())
    assert not are_photographs(inked, torch.arange(64))


def test_of_small_images_nobody_can_tell() -> None:
    images = MemoryImages(digits().images)
    assert not are_photographs(images, torch.arange(len(images)))
