"""A batch in tiles: some anchors against all images, without a B x B matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metricforge.pairwise.classes import Classes, Indices

# Numbers in a tile: few enough for a CPU's cache, enough to keep a GPU busy.
ON_CPU, ON_DEVICE = 2**18, 2**25
# A tile of fewer anchors makes a matrix product slow.
FEWEST_ANCHORS = 128
# Squared distances below this fraction of the squared length have lost digits to cancellation.
CLOSE = 1e-3
# A tile with a larger fraction of close pairs is not recomputed: its embeddings are in one point.
MOST_CLOSE, FEW_CLOSE = 1 / 16, 2**12
# Units in the last place of a squared length that a squared distance may be off, times the root of
# the dimensions. Measured: 10 at 128 dimensions, where classes are narrow.
LEAST_ROUNDED, ROUNDED = 16, 2


@dataclass
class Tile:
    """Some anchors against all images of the batch, everything in sorted order (see `Classes`).

    Images of an anchor's class are in the columns `window` alone, a slice of width W.

    Attributes:
        values: [R, B], may be changed in place; invalid once the next tile comes.
        rows: int64 [R] on the host, the sorted rows of the anchors.
        own: int64 [R], the same on the device.
        window: The columns of images of the anchors' classes.
        same: bool [R, W], the images of the anchor's class, the anchor included.
        first: The first column of `values`: above 0 in tiles of the upper triangle, which are
            [R, B - first].
    """

    values: Tensor
    rows: Indices
    own: Tensor
    window: slice
    same: Tensor
    first: int = 0

    @property
    def near(self) -> Tensor:
        """The columns of the window, [R, W]: a view of `values`."""
        return self.values[:, self.window.start - self.first : self.window.stop - self.first]

    @property
    def positive(self) -> Tensor:
        """The positives in the window, bool [R, W]: `same` without the anchors."""
        return self.same.scatter(1, (self.own - self.window.start)[:, None], False)

    def positives(self, most: int, missing: float, largest: bool) -> tuple[Tensor, Tensor]:
        """The values of each anchor's positives and their columns, sorted by value.

        Args:
            most: At least the number of positives of any anchor in the tile.
            missing: Value of a missing positive, which has any column.
            largest: Whether the largest value is first, or the smallest.

        Returns:
            Values [R, most] and int64 columns [R, most].
        """
        chosen = torch.where(self.positive, self.near, missing)
        if most == 1:
            reduced = chosen.max(1, keepdim=True) if largest else chosen.min(1, keepdim=True)
            return reduced.values, reduced.indices + self.window.start
        values, columns = chosen.topk(min(most, chosen.shape[1]), dim=1, largest=largest)
        return values, columns + self.window.start

    def hide_same(self, value: float) -> None:
        """Overwrite the values of images of the anchor's class, the anchor included.

        Args:
            value: The new value, e.g. inf.
        """
        self.near.masked_fill_(self.same, value)


class Tiling:
    """A batch sorted by class, in tiles of anchors x all images.

    Embeddings of any floating type are widened to float32 at least: half precision has no digits to
    spare for a difference of squares. The tiles share their memory.

    Args:
        embeddings: [B, D]; gradients are not tracked.
        labels: int64 [B].
        anchors: Only the first so many images of the batch are anchors. Default: all.

    Attributes:
        rows: [B, D], the sorted embeddings.
        centred: [B, D], the same minus their mean.
        norms: [B], the squared lengths of `centred`.
        classes: The classes of the batch.
        anchors: int64 [A] on the host, the sorted rows of the anchors.
    """

    def __init__(self, embeddings: Tensor, labels: Tensor, anchors: int | None = None) -> None:
        self.classes = Classes.of(labels)
        self.anchors = self.classes.anchor_rows(anchors)
        wide = embeddings.detach()
        wide = wide if wide.dtype == torch.float64 else wide.float()
        self.rows = wide.index_select(0, self.classes.order_there)
        # A centre of few digits leaves differences of round numbers as exact as they were.
        self.centred = self.rows - self.rows.mean(0).bfloat16()
        self.norms = torch.linalg.vecdot(self.centred, self.centred)
        numbers = ON_CPU if wide.device.type == "cpu" else ON_DEVICE
        self.height = min(max(FEWEST_ANCHORS, numbers // max(len(self.rows), 1)), len(self.anchors))
        self._spare: list[Tensor] = []

    def squared_distances(self, upper: bool = False, within: bool = True) -> Iterator[Tile]:
        """Tiles of squared euclidean distances; an anchor's own is exactly zero.

        One matrix product cancels where two embeddings almost coincide: an error of about 1e-6 of
        their squared lengths. So the mean is subtracted first, and within a class, where training
        makes them coincide, the mean of the class.

        A result below a thousandth of an anchor's squared length is computed again from the
        difference, on a CPU and if these are few. On a GPU, to find them would be to wait; many of
        them are embeddings in one point.

        Args:
            upper: Only if all images are anchors: each tile begins with the column of its first
                anchor, so that a pair is in one tile only, which halves the products.
            within: Whether to compute distances within a class; without it they are inf.

        Returns:
            The tiles.
        """
        for tile in self._tiles(upper):
            columns = slice(tile.first, len(self.rows))
            _squared(tile.values, self.centred, self.norms, tile, columns)
            tile.hide_same(torch.inf)
            _sharpen(tile.values, self.centred, self.norms, tile, columns)
            if within:
                self._within(tile)
            yield tile

    def _within(self, tile: Tile) -> None:
        """Write the distances of images of one class."""
        rows, norms = self.about_classes
        distances = norms.new_empty(tile.same.shape)
        _squared(distances, rows, norms, tile, tile.window)
        distances.masked_fill_(~tile.positive, torch.inf)
        _sharpen(distances, rows, norms, tile, tile.window)
        tile.near.copy_(torch.where(tile.same, distances, tile.near))
        tile.values.scatter_(1, tile.own[:, None] - tile.first, 0.0)

    @cached_property
    def about_classes(self) -> tuple[Tensor, Tensor]:
        """The sorted embeddings minus their class means [B, D], and their squared lengths [B]."""
        of_row = self.classes.of_row_there.long()
        sizes = self.classes.there(self.classes.size).to(self.centred.dtype)
        sums = self.centred.new_zeros(len(sizes), self.centred.shape[1])
        sums.index_add_(0, of_row, self.centred)
        # A centre of few digits, as above.
        rows = self.centred - (sums / sizes[:, None]).bfloat16()[of_row]
        return rows, torch.linalg.vecdot(rows, rows)

    def similarities(self) -> Iterator[Tile]:
        """Tiles of dot products."""
        for tile in self._tiles():
            torch.mm(anchors_of(self.rows, tile), self.rows.T, out=tile.values)
            yield tile

    @property
    def least_distance(self) -> Tensor:
        """The distance at which rounding is a hundredth of a gradient, 0-d."""
        numbers = torch.finfo(self.norms.dtype)
        length: Tensor = self.norms.mean().sqrt() * (100 * numbers.eps)
        return length.clamp(min=numbers.tiny**0.5)

    def surely_beyond(self, tile: Tile, squared: Tensor) -> Tensor:
        """Squared distances, raised by what rounding may add to a tile's.

        An exact copy of a positive with another label is then no negative that is farther.

        Args:
            tile: The tile, with R anchors.
            squared: [R, K] squared distances of the anchors; inf stays.

        Returns:
            [R, K].
        """
        # Where the distance of two is d, the other's squared length is at most 2 (|a|^2 + d^2).
        length = anchors_of(self.norms, tile)[:, None]
        units = max(LEAST_ROUNDED, ROUNDED * self.rows.shape[1] ** 0.5)
        beyond: Tensor = squared + (squared + length) * (units * torch.finfo(squared.dtype).eps)
        return beyond

    def spare(self, tile: Tile, number: int = 0) -> Tensor:
        """Scratch memory like a tile's values, of undefined content.

        Args:
            tile: The tile.
            number: Number of the buffer, from 0.

        Returns:
            [R, B].
        """
        while len(self._spare) <= number:
            self._spare.append(self.rows.new_empty(self.height, len(self.rows)))
        return self._spare[number][: len(tile.rows)]

    def places(self, columns: Tensor) -> Tensor:
        """Convert sorted rows to indices into the batch.

        Args:
            columns: int64, any shape.

        Returns:
            int64, same shape.
        """
        return self.classes.order_there[columns]

    def _tiles(self, upper: bool = False) -> Iterator[Tile]:
        classes, total = self.classes, len(self.rows)
        if not len(self.anchors):
            return
        # Tiles of the upper triangle are half as wide, on average.
        height = min(max(self.height, 2 * FEWEST_ANCHORS), total) if upper else self.height
        values = self.rows.new_empty(height * total)
        for begin in range(0, len(self.anchors), height):
            rows = self.anchors[begin : begin + height]
            own, first = classes.there(rows), begin if upper else 0
            of_row = classes.of_row[rows]
            window = slice(first, total)
            if classes.device.type == "cpu":
                last = int(of_row[-1])
                end = int(classes.start[last] + classes.size[last])
                window = slice(max(first, int(classes.start[of_row[0]])), end)
            same = classes.of_row_there[own][:, None] == classes.of_row_there[window]
            shape = (len(rows), total - first)
            yield Tile(values[: shape[0] * shape[1]].view(shape), rows, own, window, same, first)


def _squared(out: Tensor, rows: Tensor, norms: Tensor, tile: Tile, columns: slice) -> None:
    """Write squared distances of anchors to the rows [B, D] of some columns into `out` [R, W]."""
    torch.addmm(norms[columns], anchors_of(rows, tile), rows[columns].T, alpha=-2, out=out)
    out.add_(anchors_of(norms, tile)[:, None]).clamp_(min=0)


def _sharpen(values: Tensor, rows: Tensor, norms: Tensor, tile: Tile, columns: slice) -> None:
    """Recompute small values of a tile's `values` [R, W] from differences; inf stays."""
    if values.device.type != "cpu":
        return
    close = CLOSE * anchors_of(norms, tile)[:, None]
    if not bool((values.amin(1, keepdim=True) < close).any()):
        return
    first, second = (values < close).nonzero(as_tuple=True)
    if len(first) > max(MOST_CLOSE * values.numel(), FEW_CLOSE):
        return
    for part in torch.arange(len(first)).split(2**14):
        a, b = first[part], second[part]
        values[a, b] = (rows[tile.own[a]] - rows[b + columns.start]).square().sum(1)


def anchors_of(values: Tensor, tile: Tile) -> Tensor:
    """The anchors' part of values of all images; a view if the anchors are adjacent rows.

    Args:
        values: [B, ...], in sorted order.
        tile: The tile, with R anchors.

    Returns:
        [R, ...].
    """
    first, last = int(tile.rows[0]), int(tile.rows[-1])
    if last - first + 1 == len(tile.rows):
        return values[first : last + 1]
    return values[tile.own]


def precise(device: torch.device) -> torch.dtype:
    """The dtype for sums of many numbers: float64 if the device has it (MPS does not).

    Args:
        device: The device of the sums.

    Returns:
        float64, or float32 on MPS.
    """
    return torch.float32 if device.type == "mps" else torch.float64
