"""Images with a part taken out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metricforge.contracts import Draws
from metricforge_standard.augmentations._amounts import check_between


class Erase:
    """Paints a rectangle over some of the images, in the mean colour of each (Zhong 2020).

    Args:
        p: Fraction of images that lose a rectangle, 0 to 1.
        most: Largest rectangle, as a fraction of the area, 0 to 1; the smallest is a tenth of that.
        ratio: Largest ratio of one side to the other, 1 to 100.

    Reference: Zhong et al., Random Erasing Data Augmentation, 2020.
    """

    def __init__(self, *, p: float = 0.5, most: float = 0.25, ratio: float = 3.0) -> None:
        check_between("erase", "p", p, 0, 1)
        check_between("erase", "most", most, 0, 1)
        check_between("erase", "ratio", ratio, 1, 100)
        self.p, self.most, self.ratio = p, most, math.log(ratio)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Images [B, C, H, W] to images of the same shape."""
        chosen = draws.uniform(1) < self.p
        area = draws.uniform(1, low=self.most / 10, high=self.most)
        stretch = draws.uniform(1, low=-self.ratio, high=self.ratio).mul(0.5).exp()
        sides = (area.sqrt() * torch.cat([stretch, 1 / stretch], dim=1)).clamp(max=1)
        begin = draws.uniform(2) * (1 - sides)
        inside = _within(images.shape[2], begin[:, :1], sides[:, :1])[:, :, None]
        inside = inside & _within(images.shape[3], begin[:, 1:], sides[:, 1:])[:, None, :]
        lost = (inside & chosen[:, :, None])[:, None]
        return torch.where(lost, images.mean((2, 3), keepdim=True), images)


def _within(side: int, begin: Tensor, length: Tensor) -> Tensor:
    """Which pixels of a side lie in [begin, begin + length), fractions of it: bool [B, side]."""
    places = (torch.arange(side, device=begin.device) + 0.5) / side
    return (places >= begin) & (places < begin + length)
