"""The fonts that come with matplotlib, and characters drawn with them in a box of one size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from metricforge.errors import DataError

# Upright faces: an oblique one is these slanted, an italic one draws other letters.
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "STIXGeneral",
    "STIXGeneralBol",
)
"""The font files, without .ttf, that characters are drawn with."""

BOX, MARGIN = 64, 8
"""The longer side of a drawn character, and the black around it, in pixels."""

SIDE = BOX + 2 * MARGIN
"""The side of a drawing."""

_EM = 96  # pixels: capitals are then some 70 high, so that most are scaled down to the box
_ROOM = 4 * _EM


@dataclass(frozen=True)
class Face:
    """One font, and the characters that it can draw."""

    font: ImageFont.FreeTypeFont
    glyphs: frozenset[int]

    def drawings(self, sign: str) -> NDArray[np.uint8] | None:
        """The sign as uint8 [2, SIDE, SIDE], light on black; None when the font lacks it.

        Centred, its longer side scaled to BOX: first in its own proportions, then with its
        shorter side up to twice as long, so that signs are alike whose shapes are, wide or narrow.
        """
        if ord(sign) not in self.glyphs:
            return None
        paper = Image.new("L", (_ROOM, _ROOM))
        ImageDraw.Draw(paper).text((_EM, _EM), sign, fill=255, font=self.font)
        ink = paper.getbbox()
        if ink is None:
            return None
        return np.stack([_boxed(paper, ink, widening) for widening in (1, 2)])


def faces() -> Iterator[Face]:
    """The faces in the order of FACES; DataError for one that matplotlib came without."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in FACES:
        path = folder / f"{name}.ttf"
        try:
            # Glyph 0 is the box for missing characters.
            glyphs = {code for code, glyph in FT2Font(str(path)).get_charmap().items() if glyph}
            font = ImageFont.truetype(path, _EM, layout_engine=ImageFont.Layout.BASIC)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"the font '{path}', which comes with matplotlib, can't be read "
                f"({' '.join(str(error).split())}); install matplotlib again."
            ) from error
        yield Face(font, frozenset(glyphs))


def _boxed(paper: Image.Image, ink: tuple[int, int, int, int], widening: int) -> NDArray[np.uint8]:
    left, top, right, bottom = ink
    sides = right - left, bottom - top
    scale = BOX / max(sides)
    width, height = (max(1, min(BOX, round(side * scale * widening))) for side in sides)
    scaled = paper.resize((width, height), Image.Resampling.BILINEAR, box=ink)
    drawing = np.zeros((SIDE, SIDE), dtype=np.uint8)
    x, y = (SIDE - width) // 2, (SIDE - height) // 2
    drawing[y : y + height, x : x + width] = np.asarray(scaled)
    return drawing
