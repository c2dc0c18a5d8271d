"""Images as tiles of a picture, with names cut to fit."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageFont

from metricforge.atomic_files import partial_of
from metricforge.errors import ResourceError
from metricforge.report.plots import FONT, drawable

LONGEST = 26
FONT_SIZE = 13
GAP = 4


def font() -> ImageFont.FreeTypeFont:
    """The font of all names."""
    return ImageFont.truetype(findfont(FONT), FONT_SIZE)


def tile_size(width: int, height: int, least: int, most: int) -> tuple[int, int]:
    """The size at which an image is drawn.

    A small one is enlarged by a whole factor, to `least` pixels or a little less; one beyond `most`
    is scaled down.
    """
    longer = max(width, height)
    if longer > most:
        return max(1, width * most // longer), max(1, height * most // longer)
    factor = max(1, least // longer)
    return width * factor, height * factor


def scaled(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """An image [C, H, W] at that size; if it is enlarged, each pixel is a square."""
    # Anything but grey and colour is shown by its first channel.
    image = Image.fromarray(np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0])
    larger = size[0] >= image.width
    kind = Image.Resampling.NEAREST if larger else Image.Resampling.BILINEAR
    return image.resize(size, kind)


def shortened(name: str, longest: int = LONGEST) -> str:
    """The end of a long name, which differs more than the folders before it."""
    shown = drawable(name, len(name) + 1)
    return shown if len(shown) <= longest else f"…{shown[1 - longest :]}"


def write(sheet: Image.Image, path: Path) -> None:
    """Write a picture as PNG; ResourceError if it can't be written."""
    # Encoded first, so that an error in writing is the disk's; and written to a temporary file, so
    # that no partial one remains.
    content = io.BytesIO()
    sheet.save(content, "PNG")
    partial = partial_of(path)
    try:
        partial.write_bytes(content.getvalue())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ResourceError(f"can't write {path}: {error.strerror}.") from error
