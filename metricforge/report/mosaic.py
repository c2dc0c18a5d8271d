"""A picture of a dataset: a row of images for each class, its name at the left."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from metricforge.artefact import partial_of
from metricforge.errors import ResourceError
from metricforge.report.plots import FONT, drawable

LONGEST = 26
FONT_SIZE = 13
LEAST_TILE, MOST_TILE = 64, 256
GAP = 4


def mosaic(rows: Sequence[NDArray[np.uint8]], names: Sequence[str], path: Path) -> None:
    """Draw images uint8 [n, C, H, W] of each of some classes into a PNG file.

    Rows may differ in n, not in shape. Small images are enlarged by a whole factor, each pixel a
    square, to LEAST_TILE pixels or a little less; those beyond MOST_TILE are scaled down. Long
    names keep their end. The same images give the same pixels; ResourceError where the file can't
    be written.
    """
    width, height = _tile(rows[0].shape[3], rows[0].shape[2])
    font = ImageFont.truetype(findfont(FONT), FONT_SIZE)
    named = [_short(name) for name in names]
    beside = 3 * GAP + round(max(map(font.getlength, named)))
    across = max(map(len, rows))
    size = (beside + across * (width + GAP), GAP + len(rows) * (max(height, FONT_SIZE) + GAP))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, (images, name) in enumerate(zip(rows, named, strict=True)):
        top = GAP + row * (max(height, FONT_SIZE) + GAP)
        draw.text((GAP, top + height // 2), name, "black", font, anchor="lm")
        for column, pixels in enumerate(images):
            left = beside + column * (width + GAP)
            sheet.paste(_scaled(pixels, (width, height)), (left, top))
    _write(sheet, path)


def _tile(width: int, height: int) -> tuple[int, int]:
    """The size at which an image is drawn."""
    longer = max(width, height)
    if longer > MOST_TILE:
        return max(1, width * MOST_TILE // longer), max(1, height * MOST_TILE // longer)
    factor = max(1, LEAST_TILE // longer)
    return width * factor, height * factor


def _scaled(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    # Anything but grey and colour is shown by its first channel.
    image = Image.fromarray(np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0])
    larger = size[0] >= image.width
    kind = Image.Resampling.NEAREST if larger else Image.Resampling.BILINEAR
    return image.resize(size, kind)


def _short(name: str) -> str:
    """The end of a long name, which tells more than the folders before it."""
    shown = drawable(name, len(name) + 1)
    return shown if len(shown) <= LONGEST else f"…{shown[1 - LONGEST :]}"


def _write(sheet: Image.Image, path: Path) -> None:
    # Encoded first, so that what fails in writing is the disk's fault; and written beside, so that
    # no half file is left in its place.
    content = io.BytesIO()
    sheet.save(content, "PNG")
    partial = partial_of(path)
    try:
        partial.write_bytes(content.getvalue())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ResourceError(f"can't write {path}: {error.strerror}.") from error
