"""A picture of queries that went wrong, each above the image that was found for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from metricforge.report.plots import DPI, FONT, WIDTH, drawable, save

PER_ROW = 5
LONGEST = 24


def confusions(
    asked: NDArray[np.uint8],
    found: NDArray[np.uint8],
    asked_names: Sequence[str],
    found_names: Sequence[str],
    path: Path,
) -> None:
    """Draw queries and what was found for them, uint8 [M, C, H, W] each, with their classes."""
    rows = -(-len(asked) // PER_ROW)
    figure = Figure(figsize=(WIDTH, 3.6 * rows), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(2 * rows, PER_ROW, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place in range(len(asked)):
        row, column = divmod(place, PER_ROW)
        _draw(grid[2 * row, column], asked[place], _short(asked_names[place]), "black")
        _draw(grid[2 * row + 1, column], found[place], f"↳ {_short(found_names[place])}", "tab:red")
    save(figure, path)


def _draw(axes: Axes, image: NDArray[np.uint8], name: str, colour: str) -> None:
    shown = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255)
    axes.set_title(drawable(name, LONGEST), fontsize=8, family=FONT, color=colour, parse_math=False)


def _short(name: str) -> str:
    """The end of a long name, which tells more than the folders before it."""
    longest = LONGEST - 2
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
