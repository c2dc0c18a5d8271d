"""The hardest positive and negative of each image, from half of all products."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from metricforge.pairwise.row_search import lowest
from metricforge.pairwise.tiling import Tiling

# Classes of up to so many images are compared within themselves, outside of the tiles.
SMALL = 8
# A batch of up to so many is compared without tiles on a CPU: there calls cost more than sums.
UNTILED = 256


def hardest(tiling: Tiling) -> tuple[Tensor, Tensor]:
    """The farthest positive and the nearest negative of each image.

    All images must be anchors: then each pair is computed once, for both.

    Args:
        tiling: The tiling of the batch.

    Returns:
        int64 [B] each, in sorted rows (see `Classes`); any row where there is none.
    """
    if tiling.rows.device.type == "cpu" and 0 < len(tiling.rows) <= UNTILED:
        return _untiled(tiling)
    farthest, nearest = _Lowest(tiling.rows), _Lowest(tiling.rows)
    small = tiling.classes.largest <= SMALL
    if small:
        _compare_within(tiling, farthest)
    for tile in tiling.squared_distances(upper=True, within=not small):
        if not small:
            apart = torch.where(tile.positive, -tile.near, torch.inf)
            farthest.add(apart, tile.first, tile.window.start)
            tile.hide_same(torch.inf)
        nearest.add(tile.values, tile.first, tile.first)
    return farthest.index, nearest.index


def _untiled(tiling: Tiling) -> tuple[Tensor, Tensor]:
    """The same from all distances [B, B], each computed from the difference."""
    count, of_row = len(tiling.rows), tiling.classes.of_row_there
    above, below = _triangles(count)
    # NaN is lowest here too: only pairs have NaN.
    apart = torch.pdist(tiling.rows)
    distances = tiling.rows.new_zeros(count * count).scatter_(0, above, apart)
    distances = distances.scatter_(0, below, apart).view(count, count)
    same = of_row[:, None] == of_row
    nearest = distances.masked_fill(same, torch.inf).argmin(1)
    same.fill_diagonal_(False)
    farthest = distances.neg_().masked_fill_(same.logical_not_(), torch.inf).argmin(1)
    return farthest, nearest


@lru_cache(maxsize=4)
def _triangles(count: int) -> tuple[Tensor, Tensor]:
    """The flat indices of the pairs (i, j > i) in a matrix of `count` rows, and of their mirror."""
    row, column = torch.triu_indices(count, count, 1)
    return row * count + column, column * count + row


def _compare_within(tiling: Tiling, farthest: _Lowest) -> None:
    """Compare each image with the next of its class, then with the second next, and so on."""
    rows, of_row = tiling.centred, tiling.classes.of_row_there
    image = torch.arange(len(rows), device=rows.device)
    for step in range(1, tiling.classes.largest):
        apart = -(rows[step:] - rows[:-step]).square_().sum(1)
        apart.masked_fill_(of_row[step:] != of_row[:-step], torch.inf)
        farthest.keep(0, apart, image[step:])
        farthest.keep(step, apart, image[:-step])


class _Lowest:
    """The lowest value of each image's pairs so far, and the other image."""

    def __init__(self, rows: Tensor) -> None:
        self.value = rows.new_full((len(rows),), torch.inf)
        self.index = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)

    def add(self, values: Tensor, row: int, column: int) -> None:
        """Update with values [R, W] of images from `row` on by images from `column` >= `row` on."""
        low, index = lowest(values)
        self.keep(row, low, index + column)
        beyond = row + len(values) - column
        if beyond < values.shape[1]:
            low, index = lowest(values[:, beyond:], dim=0)
            self.keep(column + beyond, low, index + row)

    def keep(self, first: int, values: Tensor, indices: Tensor) -> None:
        """Update the images from `first` on where the values [M] are lower, with `indices` [M].

        NaN counts as lowest: only pairs have NaN, and the result must be a pair.
        """
        values = values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        best, known = (state[first : first + len(values)] for state in (self.value, self.index))
        known.copy_(torch.where(values < best, indices, known))
        torch.minimum(best, values, out=best)
