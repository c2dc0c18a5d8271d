"""Tuples chosen tile by tile, put together in the places of the batch as it came."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Pairs, Triplets
from metricforge.pairwise.classes import Indices
from metricforge.pairwise.tiling import Tile, Tiling


class ChosenTriplets:
    """Collects triplets as a miner goes through its tiles."""

    def __init__(self, tiling: Tiling) -> None:
        self._tiling = tiling
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, tile: Tile, positive: Tensor, negative: Tensor, where: Tensor) -> None:
        """Take those with `where`, bool [R, ...], of columns [R, ...] for each anchor."""
        shape = (-1,) + (1,) * (where.ndim - 1)
        parts = (tile.own.view(shape), positive, negative)
        self._parts.append(tuple(part.expand_as(where)[where] for part in parts))

    def add_one_each(self, rows: Indices, positive: Tensor, negative: Tensor) -> None:
        """Take a triplet for each of the sorted rows [R] that has a positive and a negative.

        Which have is known to the host: a GPU need not be waited for.
        """
        classes = self._tiling.classes
        both = (classes.positives(rows) > 0) & (classes.negatives(rows) > 0)
        parts: tuple[Tensor, ...] = (classes.there(rows), positive, negative)
        if not both.all():
            kept = classes.there(np.flatnonzero(both))
            parts = tuple(part[kept] for part in parts)
        self._parts.append(parts)

    def triplets(self) -> Triplets:
        """All that were taken, as places in the batch."""
        none = torch.zeros(0, dtype=torch.int64, device=self._tiling.rows.device)
        parts = zip(*self._parts, strict=True) if self._parts else ([none],) * 3
        return Triplets(*(self._tiling.places(torch.cat(list(part))) for part in parts))


class ChosenPairs:
    """Collects pairs as a miner goes through its tiles."""

    def __init__(self, tiling: Tiling) -> None:
        self._tiling = tiling
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, anchor: Tensor, other: Tensor, same: bool) -> None:
        """Take pairs of sorted rows [M], of one class or of two."""
        self._parts.append((anchor, other, torch.full_like(anchor, same, dtype=torch.bool)))

    def add_where(self, tile: Tile, where: Tensor, first: int, same: bool) -> None:
        """Take those of a tile with `where`, bool [R, W], of the columns from `first` on."""
        row, column = where.nonzero().unbind(1)
        self.add(tile.own[row], column + first, same)

    def pairs(self) -> Pairs:
        """All that were taken, as places in the batch."""
        none = torch.zeros(0, dtype=torch.int64, device=self._tiling.rows.device)
        parts = self._parts or [(none, none, none.bool())]
        anchor, other, same = (torch.cat(part) for part in zip(*parts, strict=True))
        return Pairs(self._tiling.places(anchor), self._tiling.places(other), same)
