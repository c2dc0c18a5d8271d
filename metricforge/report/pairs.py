"""A picture of images, each above another: a query above what was found for it, and the like."""

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


def draw_pairs(
    upper: NDArray[np.uint8],
    lower: NDArray[np.uint8],
    upper_names: Sequence[str],
    lower_names: Sequence[str],
    path: Path,
) -> None:
    """Draw images and those that belong below them, uint8 [M, C, H, W] each, with their names."""
    rows = -(-len(upper) // PER_ROW)
    figure = Figure(figsize=(WIDTH, 3.6 * rows), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(2 * rows, PER_ROW, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place in range(len(upper)):
        row, column = divmod(place, PER_ROW)
        _draw(grid[2 * row, column], upper[place], _short(upper_names[place]), "black")
        _draw(grid[2 * row + 1, column], lower[place], f"↳ {_short(lower_names[place])}", "tab:red")
    save(figure, path)


def _draw(axes: Axes, image: NDArray[np.uint8], name: str, colour: str) -> None:
    shown = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255)
    axes.set_title(drawable(name, LONGEST), fontsize=8, family=FONT, color=colour, parse_math=False)


def _short(name: str) -> str:
    """The end of a long name, which tells more than the folders before it."""
    longest = LONGEST - 2
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
