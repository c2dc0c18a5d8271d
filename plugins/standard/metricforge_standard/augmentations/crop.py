"""Parts of images, enlarged to the whole."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metricforge.contracts import Draws
from metricforge_standard.augmentations._amounts import check_between


class Crop:
    """Shows a random part of each image, resized to the whole (Szegedy 2015).

    The part has at least the share `least` of the area, and sides that differ from the image's by
    up to the factor `ratio`; it lies anywhere within.
    """

    def __init__(self, *, least: float = 0.5, ratio: float = 1.33) -> None:
        check_between("crop", "least", least, 0.01, 1)
        check_between("crop", "ratio", ratio, 1, 10)
        self.least, self.ratio = least, math.log(ratio)

    def warp(self, grid: Tensor, draws: Draws) -> Tensor:
        """Places [1 or B, H, W, 2] to those that the image is looked at in, [B, H, W, 2]."""
        area = draws.uniform(1, low=self.least)
        stretch = draws.uniform(1, low=-self.ratio, high=self.ratio).mul(0.5).exp()
        sides = (area.sqrt() * torch.cat([stretch, 1 / stretch], dim=1)).clamp(max=1)
        corner = draws.uniform(2, low=-1) * (1 - sides)
        return grid * sides.view(-1, 1, 1, 2) + corner.view(-1, 1, 1, 2)
