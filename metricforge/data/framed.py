"""Drawings that fill their image, wherever and however large they were drawn."""

from __future__ import annotations

import math

from PIL import Image, ImageOps

LEAST = 0.38
"""Of a side: what is drawn smaller is not enlarged further, so that a dot is no disc."""

_INK = 128  # of 255, below which a pixel is ink
_GAP = 3  # a first reduction may leave what is kept this much larger than asked, no smaller


def framed(drawing: Image.Image, size: tuple[int, int], margin: float) -> Image.Image:
    """The part of a drawing, dark on light, that its ink fills, at `size`: width and height.

    A square around the middle of the ink, with `margin` of its side left free at the least.
    """
    ink = drawing.convert("L").point(lambda value: 255 * (value < _INK)).getbbox()
    # What is far larger than asked is averaged first, though not where its thin ink is looked for.
    factor = max(1, int(LEAST * max(drawing.size) / max(size) / _GAP))
    left, top, right, bottom = (edge / factor for edge in ink or (0, 0, *drawing.size))
    drawing = drawing.reduce(factor) if factor > 1 else drawing
    side = max(right - left, bottom - top) / (1 - 2 * margin)
    half = max(side, LEAST * max(drawing.size)) / 2
    border = math.ceil(half)
    across, down = border + (left + right) / 2, border + (top + bottom) / 2
    whole = ImageOps.expand(drawing, border, fill="white")
    box = (across - half, down - half, across + half, down + half)
    return whole.resize(size, Image.Resampling.BILINEAR, box=box)
