"""Images of one channel, resized as a tensor."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Reading
from metricforge.errors import UsageError

Fit = Literal["squeeze", "crop", "pad"]

MOST_PIXELS = 4_096
"""The largest side of an image: 50 MB in colour, of which a batch has many."""

_CHUNK = 4096  # images in floating point at a time


def check_size(size: int, dataset: str) -> None:
    """Raise UsageError for an invalid image size."""
    if not 1 <= size <= MOST_PIXELS:
        raise UsageError(
            f"option 'size' of dataset '{dataset}' is 1 to {MOST_PIXELS:,} pixels, not {size}."
        )


def sides(size: int | str, dataset: str) -> tuple[int, int]:
    """Height and width of a size, 64 or "256x128"; UsageError for any other."""
    if isinstance(size, str):
        height, sign, width = size.lower().partition("x")
        if not (sign and height.isdecimal() and width.isdecimal()):
            raise UsageError(
                f"option 'size' of dataset '{dataset}' is a side, as 64, or height x width, as "
                f"256x128, not '{size}'."
            )
        check_size(int(height), dataset)
        check_size(int(width), dataset)
        return int(height), int(width)
    check_size(size, dataset)
    return size, size


def read_by(depth: int, fit: Fit, dataset: str) -> Reading:
    """How files are read whose 16-bit greys use so many bits; UsageError for no such depth."""
    try:
        return Reading(depth=depth, fit=fit)
    except ValueError as error:
        raise UsageError(f"option 'depth' of dataset '{dataset}': {error}") from error


def resized(images: Tensor, size: int) -> Tensor:
    """Images [N, H, W] in 0..255 as uint8 [N, 1, size, size], bilinear and antialiased."""
    return torch.cat([_resized(chunk[:, None], size) for chunk in images.split(_CHUNK)])


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[-2:] != (size, size):
        # In float64 the differences of machines are far below the rounding to whole values.
        images = F.interpolate(images.double(), (size, size), mode="bilinear", antialias=True)
    return images.round().clamp(0, 255).to(torch.uint8)
