"""The miner `hard-pairs`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Pairs
from metricforge.pairwise import ChosenPairs, Tiling


class HardPairs:
    """All positive pairs of the batch, and as many of its nearest negative pairs.

    Each pair is listed once, from the image that comes first in the batch. Embeddings [B, D] and
    labels [B] to as many positives as there are and at most as many negatives. Distances are
    euclidean; memory is O(tile x B), and that of the pairs.
    """

    kind = Pairs

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Pairs:
        tiling = Tiling(embeddings, labels)
        chosen = ChosenPairs(tiling)
        most = int(tiling.classes.positives(tiling.anchors).sum()) // 2
        nearest = _Nearest(most, tiling.rows)
        columns = torch.arange(len(labels), device=labels.device)
        for tile in tiling.squared_distances():
            later = columns[tile.window] > tile.own[:, None]
            chosen.add_where(tile, tile.positive & later, tile.window.start, same=True)
            tile.hide_same(torch.inf)
            nearest.add(tile.values, tile.own)
        chosen.add(*nearest.chosen(), same=False)
        anchor, other, same = chosen.pairs()
        return Pairs(torch.minimum(anchor, other), torch.maximum(anchor, other), same)


class _Nearest:
    """The `most` nearest pairs so far, by their sorted rows."""

    def __init__(self, most: int, rows: Tensor) -> None:
        self.most = most
        self._limit = rows.new_full((), torch.inf if most else -torch.inf)
        empty = torch.zeros(0, dtype=torch.int64, device=rows.device)
        self._parts = [(rows.new_zeros(0), empty, empty)]
        self._size = 0

    def add(self, values: Tensor, own: Tensor) -> None:
        """Update with a tile [R, B]; of each pair only the entry above the diagonal counts."""
        row, column = (values < self._limit).nonzero().T
        upper = column > own[row]
        row, column = row[upper], column[upper]
        self._parts.append((values[row, column], own[row], column))
        self._size += len(row)
        # Not at every tile: the time of choosing grows with the number of pairs.
        if self._size > 2 * self.most + values.numel():
            self._choose()

    def chosen(self) -> tuple[Tensor, Tensor]:
        """The two rows of each pair."""
        return self._choose()[1:]

    def _choose(self) -> tuple[Tensor, Tensor, Tensor]:
        distances, anchor, other = (torch.cat(part) for part in zip(*self._parts, strict=True))
        nearest = distances.topk(min(self.most, len(distances)), largest=False, sorted=False)[1]
        best = (distances[nearest], anchor[nearest], other[nearest])
        self._parts, self._size = [best], len(nearest)
        if 0 < self.most == len(nearest):
            self._limit = best[0].max()
        return best
