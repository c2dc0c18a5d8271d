"""Images drawn on rubber."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Draws
from metricforge_standard.augmentations._amounts import check_between

USUAL = 0.08
"""The deviation of a shift at strength 1, in halves of a side: about a pixel of 28."""


class Elastic:
    """Bends each image smoothly, like a hand that draws the same again (Simard 2003).

    A grid of `nodes` x `nodes` points is shifted at random, and the pixels between follow smoothly.

    Args:
        strength: Standard deviation of a shift, 0 to 10, in units of 4 % of a side.
        nodes: Points of the grid along a side, 2 to 64; more make finer waves.

    Reference: Simard et al., Best Practices for Convolutional Neural Networks Applied to Visual
        Document Analysis, 2003.
    """

    def __init__(self, *, strength: float = 1.0, nodes: int = 4) -> None:
        check_between("elastic", "strength", strength, 0, 10)
        check_between("elastic", "nodes", nodes, 2, 64)
        self.strength, self.nodes = strength, nodes

    def warp(self, grid: Tensor, draws: Draws) -> Tensor:
        """Positions [1 or B, H, W, 2] to the positions to sample from, [B, H, W, 2]."""
        net = draws.normal(2, self.nodes, self.nodes) * (USUAL * self.strength)
        down, across = (_between(side, self.nodes, grid.device) for side in grid.shape[1:3])
        return grid + (down @ net @ across.T).permute(0, 2, 3, 1)


@cache
def _between(side: int, nodes: int, device: torch.device) -> Tensor:
    """The weight of each node at each pixel of a side, [side, nodes], by cubic interpolation."""
    identity = torch.eye(nodes)[None, :, :, None].expand(1, nodes, nodes, 2)
    shares = F.interpolate(identity, (side, 2), mode="bicubic", align_corners=True)
    return shares[0, :, :, 0].T.to(device)
