"""Drawings as if by another hand: turned, slanted, stretched, moved, and in another weight."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge_standard.datasets._fonts import BOX, SIDE

POSES = 7
"""The count of numbers between -1 and 1 that describe a pose."""

_TURN, _SLANT, _STRETCH = 0.14, 0.22, 0.13  # radians; a share of the height; a share of a side
_FILLS, _FILL = 0.74, 0.08  # the share of a side that a character takes, and how it varies
_EDGE = 0.08  # the share of half a side that stays free
_SHARPNESS = 2.5  # of a stroke's edge, whose position is the weight of the stroke
_LIGHTEST, _HEAVIEST = 0.06, 0.26


def posed(drawings: Tensor, poses: Tensor, size: int) -> Tensor:
    """Drawings uint8 [N, S, S] in poses float64 [N, POSES], as uint8 [N, 1, size, size]."""
    soft = F.avg_pool2d(drawings[:, None].double() / 255, 3, 1, 1)
    # At twice the size, each pixel then the mean of four, so that edges are smooth. In float64
    # the differences of machines are far below the rounding to whole values.
    grid = F.affine_grid(_backwards(poses), [len(poses), 1, 2 * size, 2 * size], False)
    ink = F.grid_sample(soft, grid, align_corners=False)
    middle, reach = (_HEAVIEST - _LIGHTEST) / 2, (_HEAVIEST + _LIGHTEST) / 2
    weight = (middle + reach * poses[:, 6]).view(-1, 1, 1, 1)
    strokes = ((ink - 0.5 + weight) * _SHARPNESS + 0.5).clamp(0, 1)
    return (F.avg_pool2d(strokes * (ink > 0), 2) * 255).round().to(torch.uint8)


def _backwards(poses: Tensor) -> Tensor:
    """Maps positions in an image to those in its drawing, both -1 to 1, as float64 [N, 2, 3]."""
    turn, slant, wide, fill, x, y, _ = poses.unbind(1)
    cos, sin = (_TURN * turn).cos(), (_TURN * turn).sin()
    stretch, lean = (_STRETCH * wide).exp(), _SLANT * slant
    # Turned after it is slanted after it is stretched.
    rows = [cos * stretch, cos * lean - sin, sin * stretch, sin * lean + cos]
    shape = torch.stack(rows, 1).view(-1, 2, 2)
    share = _FILLS + _FILL * fill
    # No corner of the box may leave the image.
    shape = shape * (share / shape.abs().sum(2).amax(1))[:, None, None]
    moved = torch.stack((x, y), 1) * (1 - _EDGE - share)[:, None]
    inverse = torch.linalg.inv(shape * SIDE / BOX)
    return torch.cat((inverse, -inverse @ moved[:, :, None]), 2)
