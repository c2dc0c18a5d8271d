"""Mirrored images."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Draws
from metricforge_standard.augmentations._amounts import check_between


class Flip:
    """Mirrors some of the images, left to right; not for signs that have a direction.

    Args:
        p: Fraction of images that are mirrored, 0 to 1.
        vertical: Whether to mirror upside down as well, with a draw of its own.
    """

    def __init__(self, *, p: float = 0.5, vertical: bool = False) -> None:
        check_between("flip", "p", p, 0, 1)
        self.p, self.sides = p, (3, 2) if vertical else (3,)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Images [B, C, H, W] to images of the same shape."""
        for side in self.sides:
            mirrored = draws.uniform(1, 1, 1) < self.p
            images = torch.where(mirrored, images.flip(side), images)
        return images
