"""A picture of a dataset: a row of images for each class, its name at the left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from metricforge.report.tiles import FONT_SIZE, GAP, font, scaled, shortened, tile_size, write

LEAST_TILE, MOST_TILE = 64, 256


def mosaic(rows: Sequence[NDArray[np.uint8]], names: Sequence[str], path: Path) -> None:
    """Draw images uint8 [n, C, H, W] of each of some classes into a PNG file.

    Rows may differ in n, not in shape. Small images are enlarged, each pixel a square, and long
    names keep their end. The same images give the same pixels; ResourceError if the file can't
    be written.
    """
    width, height = tile_size(rows[0].shape[3], rows[0].shape[2], LEAST_TILE, MOST_TILE)
    written = font()
    labels = [shortened(name) for name in names]
    beside = 3 * GAP + round(max(map(written.getlength, labels)))
    across = max(map(len, rows))
    size = (beside + across * (width + GAP), GAP + len(rows) * (max(height, FONT_SIZE) + GAP))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, (images, name) in enumerate(zip(rows, labels, strict=True)):
        top = GAP + row * (max(height, FONT_SIZE) + GAP)
        draw.text((GAP, top + height // 2), name, "black", written, anchor="lm")
        for column, pixels in enumerate(images):
            left = beside + column * (width + GAP)
            sheet.paste(scaled(pixels, (width, height)), (left, top))
    write(sheet, path)
