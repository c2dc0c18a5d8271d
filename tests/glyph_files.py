"""Drawn glyphs as image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from metricforge_standard.datasets.glyphs import glyphs
from PIL import Image


def write_glyphs(folder: Path, classes: int, each: int, side: int) -> Path:
    """Classes 00, 01, ... of coloured, square PNG files, each of its own size, around `side`."""
    drawn = glyphs(per_class=each, size=64)
    rng = np.random.default_rng(0)
    for label in range(classes):
        for number in range(each):
            ink = np.asarray(drawn.images[label * each + number][0])
            colour = rng.integers(100, 256, 3) / 255
            image = Image.fromarray((ink[:, :, None] * colour).astype(np.uint8))
            size = int(rng.integers(side - 4, 2 * side))
            path = folder / f"{label:02}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.resize((size, size)).save(path)
    return folder
