"""Drawings of thicker and thinner lines."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Draws
from metricforge_standard.augmentations._amounts import check_between

MOST = 8


class Stroke:
    """Makes the light strokes of drawings thicker or thinner, as another pen would.

    It moves their edges outwards by up to `thicker` pixels or inwards by up to `thinner`, evenly: a
    dilation or an erosion by squares, interpolated for parts of a pixel. Thin lines on a small
    image soon vanish: keep `thinner` well below a pixel.

    Args:
        thicker: Largest shift of an edge outwards, 0 to 8 pixels.
        thinner: Largest shift of an edge inwards, 0 to 8 pixels.
    """

    def __init__(self, *, thicker: float = 1.0, thinner: float = 0.3) -> None:
        check_between("stroke", "thicker", thicker, 0, MOST)
        check_between("stroke", "thinner", thinner, 0, MOST)
        self.thicker, self.thinner = thicker, thinner

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Images [B, C, H, W] to images of the same shape."""
        moved = draws.uniform(1, 1, 1, low=-self.thinner, high=self.thicker)
        thick = _widened(images, moved.clamp(min=0), self.thicker)
        return -_widened(-thick, (-moved).clamp(min=0), self.thinner)


def _widened(images: Tensor, pixels: Tensor, most: float) -> Tensor:
    """Images whose light parts extend by so many pixels [B, 1, 1, 1], at most `most`."""
    wide, step = images, 0
    while step < most:
        wider = F.max_pool2d(wide, 3, stride=1, padding=1)
        wide = wide + (wider - wide) * (pixels - step).clamp(0, 1)
        step += 1
    return wide
