"""The miner `hard-pairs`."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Pairs
from metricforge.pairwise import ChosenPairs, Tiling


class HardPairs:
    """All positive pairs of the batch, and as many of its nearest negative pairs.

    Each pair is listed once, whatever its order. Embeddings [B, D] and labels [B] to as many
    positives as there are and at most as many negatives. Distances are euclidean; memory is
    O(tile x B), and that of the pairs.
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
        chosen.add(nearest.anchor, nearest.other, same=False)
        return chosen.pairs()


class _Nearest:
    """The `most` nearest pairs among those shown so far, by their sorted rows."""

    def __init__(self, most: int, rows: Tensor) -> None:
        self.most = most
        self.values = rows.new_zeros(0)
        self.anchor = self.other = torch.zeros(0, dtype=torch.int64, device=rows.device)

    def add(self, values: Tensor, own: Tensor) -> None:
        """Take in a tile [R, B]; of each pair only the place above the diagonal counts."""
        full = len(self.values) == self.most
        limit = self.values.max() if full and self.most else torch.inf
        row, column = (values < limit).nonzero().T
        upper = column > own[row]
        row, column = row[upper], column[upper]
        found = torch.cat([self.values, values[row, column]])
        anchor, other = torch.cat([self.anchor, own[row]]), torch.cat([self.other, column])
        kept = found.topk(min(self.most, len(found)), largest=False)[1]
        self.values, self.anchor, self.other = found[kept], anchor[kept], other[kept]
