"""The miner `all-pairs`."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from metricforge.contracts import AllPairs as Every
from metricforge.contracts import Pairs
from metricforge.pairwise import Classes
from metricforge.pairwise.classes import Indices


class AllPairs:
    """Every pair of the batch, from either side; a loss with a closed form never lists them.

    `balanced` chooses all positive pairs and as many negative pairs, drawn at random without
    replacement, or all of them if there are fewer. Each pair is then listed once, from the image
    that comes first in the batch. The choice depends on labels [B] alone; memory is that of the
    pairs.

    Args:
        balanced: Whether to choose as many negative as positive pairs, at random, instead of every
            pair.
    """

    kind = Pairs

    def __init__(self, *, balanced: bool = False) -> None:
        self.balanced = balanced

    def __call__(
        self, embeddings: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> Every | Pairs:
        if not self.balanced:
            return Every()
        classes = Classes.of(labels)
        rows = np.arange(len(classes))
        # Sorted by class, the later rows of a row's own class come first, then all the others.
        ends = (classes.start + classes.size)[classes.of_row] if len(rows) else rows
        positive = _laid_out(ends - rows - 1, rows + 1)
        later = len(rows) - ends
        drawn = distinct(int(later.sum()), len(positive[0]), rng)
        row = np.searchsorted(np.cumsum(later), drawn, side="right")
        negative = row, ends[row] + drawn - (np.cumsum(later) - later)[row]
        pairs = np.concatenate([positive, negative], axis=1)
        anchor, other = np.sort(classes.order[pairs], axis=0)
        same = np.arange(len(anchor)) < len(positive[0])
        return Pairs(*(classes.there(np.ascontiguousarray(p)) for p in (anchor, other, same)))


def distinct(total: int, count: int, rng: np.random.Generator) -> Indices:
    """`count` distinct numbers below `total`, or all, in order; memory is O(count)."""
    if 2 * count > total:
        left_out = distinct(total, max(total - count, 0), rng)
        return np.delete(np.arange(total), left_out)
    numbers = np.zeros(0, dtype=np.int64)
    while len(numbers) < count:
        more = rng.integers(total, size=count - len(numbers))
        numbers = np.unique(np.concatenate([numbers, more]))
    return numbers


def _laid_out(counts: Indices, first: Indices) -> tuple[Indices, Indices]:
    """Each row repeated by its count, with the numbers from its `first` on."""
    rows = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return rows, np.arange(len(rows)) - before[rows] + first[rows]
