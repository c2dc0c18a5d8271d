"""Parts of images, enlarged to the whole."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metricforge.contracts import Draws
from metricforge_standard.augmentations._amounts import check_between


class Crop:
    """Shows a random part of each image, resized to the whole (Szegedy 2015).

    The part lies anywhere within the image.

    Args:
        least: Smallest part, as a fraction of the area, 0.01 to 1.
        ratio: Largest factor by which the ratio of the sides differs from the image's, 1 to 10.

    Reference: Szegedy et al., Going Deeper with Convolutions, 2015.
    """

    def __init__(self, *, least: float = 0.5, ratio: float = 1.33) -> None:
        check_between("crop", "least", least, 0.01, 1)
        check_between("crop", "ratio", ratio, 1, 10)
        self.least, self.ratio = least, math.log(ratio)

    def warp(self, grid: Tensor, draws: Draws) -> Tensor:
        """Positions [1 or B, H, W, 2] to the positions to sample from, [B, H, W, 2]."""
        area = draws.uniform(1, low=self.least)
        stretch = draws.uniform(1, low=-self.ratio, high=self.ratio).mul(0.5).exp()
        sides = (area.sqrt() * torch.cat([stretch, 1 / stretch], dim=1)).clamp(max=1)
        corner = draws.uniform(2, low=-1) * (1 - sides)
        return grid * sides.view(-1, 1, 1, 2) + corner.view(-1, 1, 1, 2)
