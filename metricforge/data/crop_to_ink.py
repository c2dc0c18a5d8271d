"""Drawings that fill their image, wherever and however large they were drawn."""

from __future__ import annotations

import math

from PIL import Image, ImageOps, ImageStat

LEAST = 0.38
"""Of a side: what is drawn smaller is not enlarged further, so that a dot is no disc."""

_INK = 128  # of 255, below which a pixel is ink
_GAP = 3  # after a first reduction the image is at least this much larger than requested


def framed(drawing: Image.Image, size: tuple[int, int], margin: float) -> Image.Image:
    """The part of a drawing, dark on light, that its ink fills, at `size`: width and height.

    A square around the middle of the ink, with `margin` of its side left free at the least. Where
    it reaches beyond the drawing there is more of its paper.
    """
    ink = drawing.convert("L").point(lambda value: 255 * (value < _INK))
    left, top, right, bottom = ink.getbbox() or (0, 0, *drawing.size)
    side = max(right - left, bottom - top) / (1 - 2 * margin)
    half = max(side, LEAST * max(drawing.size)) / 2
    paper = _paper(drawing, ink)
    # A far larger drawing is averaged first, but only after its thin ink was located.
    factor = max(1, int(2 * half / max(size) / _GAP))
    drawing = drawing.reduce(factor) if factor > 1 else drawing
    half /= factor
    border = math.ceil(half)
    across, down = (border + (a + b) / 2 / factor for a, b in ((left, right), (top, bottom)))
    whole = ImageOps.expand(drawing, border, fill=paper)
    box = (across - half, down - half, across + half, down + half)
    return whole.resize(size, Image.Resampling.BILINEAR, box=box)


def _paper(drawing: Image.Image, ink: Image.Image) -> tuple[int, ...]:
    """The usual level of each band where there is no ink; white where there is ink alone."""
    return tuple(ImageStat.Stat(drawing, ImageOps.invert(ink)).median)
