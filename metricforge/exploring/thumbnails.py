"""Images as small tiles, many on one JPEG sheet, in a bounded number of bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metricforge.data.images import Images, MemoryImages

SIDES = (160, 128, 96, 64, 48, 32, 24)
"""Pixels of a side, the largest that fits first."""

MOST_BYTES = 7 * 2**20
"""Of all sheets, so that a page of 20,000 images stays below 15 MB."""

SHEET = 1024
"""Pixels of a sheet's side: browsers keep them decoded, 4 bytes a pixel."""

QUALITY = 75
SAMPLE = 64
BATCH = 256


@dataclass(frozen=True)
class Thumbnails:
    """Tiles of `side` x `side` pixels, `across` x `across` of them on each JPEG sheet, in order."""

    side: int
    across: int
    sheets: tuple[bytes, ...]


def thumbnails(images: Images, indices: Tensor, most_bytes: int = MOST_BYTES) -> Thumbnails:
    """Thumbnails of the images [M] at `indices`, as large as fit into so many bytes.

    Images keep their proportions, on black.
    """
    _, height, width = images.shape
    sample = MemoryImages(images.take(indices[:: -(-len(indices) // SAMPLE)]))
    whole = torch.arange(len(sample))
    # None is enlarged, but for the smallest of sides.
    sides = [side for side in SIDES if side <= max(height, width)] or [SIDES[-1]]
    for side in sides:
        across = SHEET // side
        sized = sum(map(len, _sheets(sample, whole, side, across)))
        if sized / len(sample) * len(indices) <= most_bytes or side == sides[-1]:
            break
    return Thumbnails(side, across, tuple(_sheets(images, indices, side, across)))


def _sheets(images: Images, indices: Tensor, side: int, across: int) -> Iterator[bytes]:
    """The JPEG files."""
    for part in indices.split(across * across):
        rows = -(-len(part) // across)
        sheet = Image.new("RGB", (min(len(part), across) * side, rows * side))
        for place, tile in enumerate(_tiles(images, part, side)):
            left, top = place % across * side, place // across * side
            sheet.paste(tile, (left + (side - tile.width) // 2, top + (side - tile.height) // 2))
        content = io.BytesIO()
        sheet.save(content, "JPEG", quality=QUALITY)
        yield content.getvalue()


def _tiles(images: Images, indices: Tensor, side: int) -> Iterator[Image.Image]:
    for batch in indices.split(BATCH):
        for pixels in images.take(batch).cpu().numpy():
            yield _tile(pixels, side)


def _tile(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    """An image [C, H, W] whose longer side is `side`."""
    # Anything but grey and colour is shown by its first channel.
    shown = np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]
    image = Image.fromarray(np.ascontiguousarray(shown)).convert("RGB")
    factor = side / max(image.size)
    size = tuple(max(1, round(length * factor)) for length in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
