"""Brings confused chunks into one batch, by swaps that keep every batch valid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metricforge_standard.samplers._class_index import Indices
from metricforge_standard.samplers._deal import NONE


def gathered(
    dealt: Indices,
    of_class: Indices,
    confused: Callable[[int], list[int]],
    share: float,
    rng: np.random.Generator,
) -> Indices:
    """A deal [batches, P] of chunks of classes `of_class` [M], with confused chunks swapped in.

    Each batch grows from a random chunk by chunks that are confused with it, then by chunks that
    are confused with these, until they fill `share` of its other slots; `confused` returns the
    chunks that one is confused with, the worst first. A swap keeps the sizes of both batches, and
    brings no class that a batch has already.
    """
    table = _Table(dealt, of_class)
    count = round(share * (dealt.shape[1] - 1))
    seeds = rng.integers(dealt.shape[1], size=len(dealt))
    # The last batches get fewer: in random order, so that these are not always the same.
    for batch in rng.permutation(len(dealt)).tolist():
        table.grow(batch, int(seeds[batch]), count, confused)
    return np.array(table.chunks, dtype=np.int64).reshape(dealt.shape)


class _Table:
    """The chunks and their classes in each slot of each batch; lists, for single steps."""

    def __init__(self, dealt: Indices, of_class: Indices) -> None:
        self.chunks: list[list[int]] = dealt.tolist()
        self.classes: list[list[int]] = np.where(dealt == NONE, NONE, of_class[dealt]).tolist()
        batch = np.empty(len(of_class), dtype=np.int64)
        filled = dealt != NONE
        batch[dealt[filled]] = filled.nonzero()[0]
        self.batch: list[int] = batch.tolist()
        self.settled = bytearray(len(of_class))

    def grow(self, batch: int, seed: int, count: int, confused: Callable[[int], list[int]]) -> None:
        """Bring up to `count` chunks into a batch that are confused with chunks in it."""
        row, grown = self.chunks[batch], 0
        growing = [row[seed] if row[seed] != NONE else max(row)]
        while growing and grown < count:
            chunk = growing.pop(0)
            self.settled[chunk] = True
            for other in confused(chunk):
                if grown < count and not self.settled[other] and self._swapped_in(other, batch):
                    self.settled[other] = True
                    growing.append(other)
                    grown += 1
            # No remaining chunk is confused with these: another seed.
            growing = growing or [c for c in row if c != NONE and not self.settled[c]][:1]

    def _swapped_in(self, chunk: int, batch: int) -> bool:
        """Swap a chunk into a batch; False if that would make a batch invalid."""
        source = self.batch[chunk]
        if source == batch:
            return True
        slot = self.chunks[source].index(chunk)
        class_ = self.classes[source][slot]
        for target in self._exchangeable(batch, class_):
            leaving = self.classes[batch][target]
            if leaving == class_ or leaving not in self.classes[source]:
                self._swap((batch, target), (source, slot))
                return True
        return False

    def _exchangeable(self, batch: int, class_: int) -> list[int]:
        """The slots of a batch that a chunk of a class may take."""
        classes, chunks = self.classes[batch], self.chunks[batch]
        free = [p for p, c in enumerate(chunks) if c != NONE and not self.settled[c]]
        return [p for p in free if classes[p] == class_] if class_ in classes else free

    def _swap(self, left: tuple[int, int], right: tuple[int, int]) -> None:
        (a, i), (b, j) = left, right
        for table in (self.chunks, self.classes):
            table[a][i], table[b][j] = table[b][j], table[a][i]
        self.batch[self.chunks[a][i]], self.batch[self.chunks[b][j]] = a, b
