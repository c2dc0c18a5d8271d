"""Tuples chosen tile by tile, collected as indices into the batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Pairs, Triplets
from metricforge.pairwise.classes import Indices
from metricforge.pairwise.tiling import Tile, Tiling


class ChosenTriplets:
    """Collects the triplets of a miner over its tiles.

    Args:
        tiling: The tiling of the batch.
    """

    def __init__(self, tiling: Tiling) -> None:
        self._tiling = tiling
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, tile: Tile, positive: Tensor, negative: Tensor, where: Tensor) -> None:
        """Add triplets of a tile's anchors.

        Args:
            tile: The tile, with R anchors.
            positive: Columns of the positives, broadcast to [R, ...].
            negative: Columns of the negatives, likewise.
            where: bool [R, ...], the triplets to add.
        """
        shape = (-1,) + (1,) * (where.ndim - 1)
        parts = (tile.own.view(shape), positive, negative)
        self._parts.append(tuple(part.expand_as(where)[where] for part in parts))

    def add_one_each(self, rows: Indices, positive: Tensor, negative: Tensor) -> None:
        """Add a triplet for each of the sorted rows that has a positive and a negative.

        The host knows which rows have: there is no wait for a GPU.

        Args:
            rows: Sorted rows [R] of the anchors, on the host.
            positive: int64 [R], sorted rows of the positives.
            negative: int64 [R], sorted rows of the negatives.
        """
        classes = self._tiling.classes
        both = (classes.positives(rows) > 0) & (classes.negatives(rows) > 0)
        parts: tuple[Tensor, ...] = (classes.there(rows), positive, negative)
        if not both.all():
            selected = classes.there(np.flatnonzero(both))
            parts = tuple(part[selected] for part in parts)
        self._parts.append(parts)

    def triplets(self) -> Triplets:
        """All added triplets, as indices into the batch."""
        none = torch.zeros(0, dtype=torch.int64, device=self._tiling.rows.device)
        parts = zip(*self._parts, strict=True) if self._parts else ([none],) * 3
        return Triplets(*(self._tiling.places(torch.cat(list(part))) for part in parts))


class ChosenPairs:
    """Collects the pairs of a miner over its tiles.

    Args:
        tiling: The tiling of the batch.
    """

    def __init__(self, tiling: Tiling) -> None:
        self._tiling = tiling
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, anchor: Tensor, other: Tensor, same: bool) -> None:
        """Add pairs of sorted rows.

        Args:
            anchor: int64 [M].
            other: int64 [M].
            same: Whether all of them are of one class, or none.
        """
        self._parts.append((anchor, other, torch.full_like(anchor, same, dtype=torch.bool)))

    def add_where(self, tile: Tile, where: Tensor, first: int, same: bool) -> None:
        """Add pairs of a tile.

        Args:
            tile: The tile, with R anchors.
            where: bool [R, W], the pairs to add, over W columns.
            first: The first of these columns.
            same: Whether all of them are of one class, or none.
        """
        row, column = where.nonzero().unbind(1)
        self.add(tile.own[row], column + first, same)

    def pairs(self) -> Pairs:
        """All added pairs, as indices into the batch."""
        none = torch.zeros(0, dtype=torch.int64, device=self._tiling.rows.device)
        parts = self._parts or [(none, none, none.bool())]
        anchor, other, same = (torch.cat(part) for part in zip(*parts, strict=True))
        return Pairs(self._tiling.places(anchor), self._tiling.places(other), same)
