"""Augmentations in order, on the device, with separate draws for each image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Augmentation, Draws, Warping
from metricforge.data.image_rng import ImageDraws
from metricforge.plugin_errors import blaming, broken, described


class Chain:
    """Augmentations one after another; those that only move pixels share an interpolation.

    `fill` is the colour [C], 0 to 255, of pixels from outside of an image; empty for vectors.
    """

    def __init__(self, steps: Sequence[Augmentation], seed: int, fill: Sequence[float]) -> None:
        self._steps, self._seed = steps, seed
        self._fill = torch.tensor(fill, dtype=torch.float32).view(1, len(fill), 1, 1)

    @property
    def fill(self) -> list[float]:
        """The colour [C] of pixels from outside of an image."""
        colour: list[float] = self._fill.flatten().tolist()
        return colour

    def __call__(self, images: Tensor, epoch: int, indices: Tensor) -> Tensor:
        """uint8 images [B, C, H, W], or vectors [B, V], of these indices [B] to float32 ones.

        The result for an image is a function of (seed, epoch, index). Raises PluginError for an
        augmentation that returns anything but images of this shape.
        """
        moves: list[tuple[Warping, Draws]] = []
        shown = images.float()
        for position, step in enumerate(self._steps):
            draws = ImageDraws((self._seed, epoch, position), indices, images.device)
            if isinstance(step, Warping):
                moves.append((step, draws))
                continue
            shown, moves = self._moved(shown, moves), []
            with blaming(step):
                changed = step(shown, draws)
            _check(step, changed, shown.shape)
            shown = changed
        return self._moved(shown, moves)

    def _moved(self, images: Tensor, moves: Sequence[tuple[Warping, Draws]]) -> Tensor:
        if not moves:
            return images
        grid = _places(*images.shape[2:], images.device)
        # The last warp of an image is the first to map the positions of its pixels.
        for step, draws in reversed(moves):
            with blaming(step):
                moved = step.warp(grid, draws)
            _check(step, moved, (len(images), *grid.shape[1:]))
            grid = moved
        # Outside of an image are zeros, so the fill must be zero meanwhile.
        fill = self._fill.to(images.device)
        return F.grid_sample(images - fill, grid, align_corners=False) + fill


def _check(step: object, result: object, shape: Sequence[int]) -> None:
    expected = (torch.float32, tuple(shape))
    if not isinstance(result, Tensor) or (result.dtype, result.shape) != expected:
        raise broken(step, f"must give {expected[0]} {list(shape)}", described(result))


@cache
def _places(height: int, width: int, device: torch.device) -> Tensor:
    """The positions of the pixels of an image, [1, H, W, 2] as (x, y) from -1 to 1."""
    x, y = ((torch.arange(side, device=device) * 2 + 1) / side - 1 for side in (width, height))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
