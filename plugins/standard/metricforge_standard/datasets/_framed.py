"""Drawings that fill their image, wherever and however large they were drawn."""

from __future__ import annotations

import math

import torch
from PIL import Image, ImageOps
from torch import Tensor

# Of a side: what is drawn smaller is not enlarged further, so that a dot is no disc.
_LEAST = 0.38
_INK = 128  # of 255, from which on a pixel is ink


def framed(drawing: Tensor, size: int, margin: float) -> Tensor:
    """The part of a drawing [1, H, W], dark on white, that its ink fills, as uint8 [1, size, size].

    A square around the middle of the ink, with `margin` of its side left free at the least.
    """
    image = Image.fromarray(drawing[0].numpy())
    ink = image.point(lambda value: 255 * (value < _INK)).getbbox()
    if ink is None:
        ink = (0, 0, *image.size)
    left, top, right, bottom = ink
    side = max(right - left, bottom - top) / (1 - 2 * margin)
    half = max(side, _LEAST * max(image.size)) / 2
    border = math.ceil(half)
    across, down = border + (left + right) / 2, border + (top + bottom) / 2
    whole = ImageOps.expand(image, border, fill=255)
    box = (across - half, down - half, across + half, down + half)
    small = whole.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(1, size, size)
