"""A picture of queries with the images nearest to each, right and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from metricforge.report.tiles import FONT_SIZE, GAP, font, scaled, shortened, tile_size, write

LONGEST = 19
TILE = 140
COLUMN = 150
LINE = FONT_SIZE + 2 * GAP
RIGHT, WRONG = "#1a7f37", "#d62728"
APART = 3 * GAP
"""Between a query and its answers."""


@dataclass(frozen=True)
class Answered:
    """A query uint8 [C, H, W], the images nearest to it [K, C, H, W], and their classes."""

    query: NDArray[np.uint8]
    nearest: NDArray[np.uint8]
    query_class: str
    nearest_classes: Sequence[str]


def draw_answers(answered: Sequence[Answered], path: Path) -> None:
    """Draw a row for each query: itself, then its nearest images, nearest first.

    Names of its own class are green with a tick, others are red with a cross. All images have one
    shape. ResourceError if the file can't be written.
    """
    _, height, width = answered[0].query.shape
    tile = tile_size(width, height, TILE, TILE)
    across = 1 + max(len(row.nearest) for row in answered)
    down = LINE + tile[1] + GAP
    sheet = Image.new("RGB", (across * COLUMN + APART, GAP + len(answered) * down), "white")
    draw, written = ImageDraw.Draw(sheet), font()
    for index, row in enumerate(answered):
        top = GAP + index * down
        name = shortened(row.query_class, LONGEST)
        cells = [(row.query, name, "black")]
        for image, found in zip(row.nearest, row.nearest_classes, strict=True):
            right = found == row.query_class
            mark, colour = ("✓", RIGHT) if right else ("✗", WRONG)
            cells.append((image, f"{mark} {shortened(found, LONGEST - 2)}", colour))
        for column, (image, text, colour) in enumerate(cells):
            middle = column * COLUMN + COLUMN // 2 + (APART if column else 0)
            draw.text((middle, top + LINE // 2), text, colour, written, anchor="mm")
            sheet.paste(scaled(image, tile), (middle - tile[0] // 2, top + LINE))
    write(sheet, path)
