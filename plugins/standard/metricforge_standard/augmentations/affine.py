"""Turned, slanted, stretched and shifted images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metricforge.contracts import Draws
from metricforge_standard.augmentations._amounts import check_between


class Affine:
    """Rotates, shears, scales and shifts each image, evenly up to the amounts given.

    All are about the centre. Pixels that come in at an edge have the colour that is usual there.

    Args:
        rotate: Largest angle either way, 0 to 180 degrees.
        shear: Largest angle either way, 0 to 60 degrees.
        scale: Largest change of size, 0 to 10, for each side separately: 0.2 makes an image up to
            1.2 times as large or as small.
        shift: Largest shift, as a fraction of a side, 0 to 1.
    """

    def __init__(
        self, *, rotate: float = 10.0, shear: float = 0.0, scale: float = 0.1, shift: float = 0.05
    ) -> None:
        check_between("affine", "rotate", rotate, 0, 180)
        check_between("affine", "shear", shear, 0, 60)
        check_between("affine", "scale", scale, 0, 10)
        check_between("affine", "shift", shift, 0, 1)
        self.rotate, self.shear = math.radians(rotate), math.radians(shear)
        self.scale, self.shift = math.log1p(scale), 2 * shift  # a side is 2 long here

    def warp(self, grid: Tensor, draws: Draws) -> Tensor:
        """Positions [1 or B, H, W, 2] to the positions to sample from, [B, H, W, 2]."""
        angle, slant, *zoom = (draws.uniform(4, low=-1) * self._amounts(grid)).unbind(1)
        across, down = (draws.uniform(2, low=-self.shift, high=self.shift)).unbind(1)
        # Angles keep their size in pixels, not in fractions of the sides.
        aspect = grid.shape[2] / grid.shape[1]
        x, y = grid[..., 0] * aspect, grid[..., 1]
        cosine, sine, slope = angle.cos(), angle.sin(), slant.tan()
        wide, high = (factor.exp() for factor in zoom)
        turned = _sum(x, y, cosine * wide, (slope * cosine - sine) * high)
        tilted = _sum(x, y, sine * wide, (slope * sine + cosine) * high)
        return torch.stack(
            [turned / aspect + across.view(-1, 1, 1), tilted + down.view(-1, 1, 1)], dim=-1
        )

    def _amounts(self, grid: Tensor) -> Tensor:
        return grid.new_tensor([self.rotate, self.shear, self.scale, self.scale])


def _sum(x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
    """of_x * x + of_y * y, of each image: a matrix product would take five times as long."""
    return of_x.view(-1, 1, 1) * x + of_y.view(-1, 1, 1) * y
