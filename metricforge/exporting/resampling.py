"""Pillow's antialiased resizing as products with matrices, which every format of graphs has.

An operator for resizing rounds, aligns and antialiases as its runtime likes, or is unknown to it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.errors import UsageError

_ONE = float(1 << 22)
"""Pillow's weights are whole multiples of its inverse."""


def fixed_matrix(length: int, size: int, mode: str) -> Tensor:
    """The weights [S, L] by which torch resizes a line of L pixels to S, antialiased.

    Args:
        length: L.
        size: S.
        mode: "bilinear" or "bicubic".

    Returns:
        float32 [S, L].
    """
    units = torch.eye(length)[None, None]
    return F.interpolate(units, (size, length), mode=mode, antialias=True)[0, 0]


def fitted(images: Tensor, size: tuple[int, int], fit: str) -> Tensor:
    """Images of any size in another, to the bit as Pillow reads files that it does not reduce.

    Args:
        images: uint8 [B, C, H, W].
        size: Height and width of the result.
        fit: "squeeze", "crop" or "pad".

    Returns:
        float32 [B, C, *size], whole numbers from 0 to 255.
    """
    sides = zip((2, 3), size, strict=True)
    lengths = [torch.scalar_tensor(images.shape[axis], dtype=torch.float64) for axis in (2, 3)]
    ratios = torch.stack([length / side for length, side in zip(lengths, size, strict=True)])
    down, across = (
        _line(images.shape[axis], length, side, ratios, fit)
        for length, (axis, side) in zip(lengths, sides, strict=True)
    )
    # Pillow resizes across first, and rounds after each. Sums are exact in float64.
    return _rounded(down @ _rounded(images.double() @ across.T)).float()


def _line(count: int, length: Tensor, size: int, ratios: Tensor, fit: str) -> Tensor:
    """The weights [S, L] of one side of an image."""
    if fit == "squeeze":
        return _weights(count, torch.zeros_like(length), length, size)
    if fit == "crop":
        wide = size * ratios.min()
        begin = (length - wide) / 2
        # As Pillow has the corners of a box.
        return _weights(count, begin.float().double(), (begin + wide).float().double(), size)
    if fit == "pad":
        inner = torch.round(length / ratios.max()).clamp(min=1)
        return _padded(count, length, size, inner)
    raise UsageError(f"files of this model are read by fit={fit}, which no export can.")


def _weights(count: int, begin: Tensor, end: Tensor, size: int) -> Tensor:
    """The weights [S, L] of a line of L pixels, whose part from `begin` to `end` is resized."""
    scale = (end - begin) / size
    return _triangles(count, begin + _halves(size) * scale, scale)


def _padded(count: int, length: Tensor, size: int, inner: Tensor) -> Tensor:
    """The weights [S, L] of a line that is resized to `inner` pixels, in the middle of S."""
    scale = length / inner
    lines = _halves(size) - torch.floor((size - inner) / 2)
    inside = ((lines > 0) & (lines < inner))[:, None]
    # Outside of it any weights will do.
    weights = _triangles(count, lines.clamp(0.5).minimum(inner - 0.5) * scale, scale)
    return torch.where(inside, weights, torch.zeros_like(weights))


def _triangles(count: int, centres: Tensor, scale: Tensor) -> Tensor:
    """The weights [S, L] of pixels by their distance from each centre, with Pillow's 22 bits."""
    apart = (_halves(count)[None] - centres[:, None]) / scale.clamp(min=1)
    weights = (1 - apart.abs()).clamp(min=0)
    return torch.floor(weights / weights.sum(1, keepdim=True) * _ONE + 0.5) / _ONE


def _halves(count: int) -> Tensor:
    """The middles of pixels, float64 [count]: 0.5, 1.5, ..."""
    return torch.arange(count, dtype=torch.float64) + 0.5


def _rounded(images: Tensor) -> Tensor:
    return torch.floor(images + 0.5).clamp(0, 255)
