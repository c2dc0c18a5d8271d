"""A picture of pairs of images, one above the other, e.g. a query and its nearest image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from metricforge.report.tiles import FONT_SIZE, GAP, font, scaled, shortened, tile_size, write

PER_ROW = 5
LONGEST = 22
TILE = 152
COLUMN = 180


def draw_pairs(
    upper: NDArray[np.uint8],
    lower: NDArray[np.uint8],
    upper_names: Sequence[str],
    lower_names: Sequence[str],
    path: Path,
) -> None:
    """Draw pairs of images, uint8 [M, C, H, W] each, with their names.

    The names of the lower ones are red. ResourceError if the file can't be written.
    """
    width, height = tile_size(upper.shape[3], upper.shape[2], TILE, TILE)
    line = FONT_SIZE + 2 * GAP
    pair = 2 * (line + height) + 4 * GAP
    rows = -(-len(upper) // PER_ROW)
    sheet = Image.new("RGB", (PER_ROW * COLUMN, rows * pair), "white")
    draw, written = ImageDraw.Draw(sheet), font()
    for index in range(len(upper)):
        row, column = divmod(index, PER_ROW)
        middle, top = column * COLUMN + COLUMN // 2, row * pair + GAP
        drawn = [
            (upper[index], shortened(upper_names[index], LONGEST), "black"),
            (lower[index], _below(lower_names[index]), "#d62728"),
        ]
        for image, name, colour in drawn:
            draw.text((middle, top + line // 2), name, colour, written, anchor="mm")
            sheet.paste(scaled(image, (width, height)), (middle - width // 2, top + line))
            top += line + height
    write(sheet, path)


def _below(name: str) -> str:
    return f"↳ {shortened(name, LONGEST - 2)}" if name else ""
