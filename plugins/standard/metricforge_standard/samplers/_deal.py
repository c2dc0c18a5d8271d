"""Dealing the chunks of all classes to batches, so that a batch holds a class once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metricforge_standard.samplers._class_index import Indices

NONE = -1


def batches_of(chunks: int, places: int) -> int:
    """How many batches of at most `places` chunks there are."""
    return -(-chunks // places)


def deal(first: Indices, count: Indices, places: int, rng: np.random.Generator) -> Indices:
    """Deal the chunks of classes to batches of `places` chunks.

    Class c has the `count[c]` chunks from the number `first[c]` on, both [C]. Gives the chunks of
    each batch, [batches, places], NONE where a place is free. No batch holds a class twice that
    has at most one chunk a batch; a larger class is spread evenly. The batches differ by one
    chunk at most, and which classes meet is random.
    """
    queue = _Queue.of(first, count, places, rng)
    batches = len(queue.chunks) // places
    dealt = np.empty((batches, places), dtype=np.int64)
    # The queue fills the first place of every batch, then the second, each time in an order of
    # its own. A class with no more chunks than batches ends at the latest one place further on,
    # and there takes the batches that it did not have: `held` is how often they had it.
    held = np.zeros(batches, dtype=np.int64)
    for place in range(places):
        begin = place * batches
        order = rng.permutation(batches)
        goes_on = queue.goes_on(begin, batches)
        order = _least_first(order, held, goes_on)
        dealt[order, place] = queue.chunks[begin : begin + batches]
        began = queue.began(begin + batches - 1) - begin
        if began >= 0:
            held[:] = 0
        held[order[max(began, 0) :]] += 1
    return dealt


def _least_first(order: Indices, held: Indices, first: int) -> Indices:
    """`order` with the `first` batches that held least at its front, the others as they were."""
    if first == 0:
        return order
    chosen = np.argsort(held[order], kind="stable")[:first]
    return np.concatenate([order[chosen], np.delete(order, chosen)])


@dataclass(frozen=True)
class _Queue:
    """All chunks, those of a class behind each other; `ends` is where each class ends."""

    chunks: Indices
    ends: Indices

    @classmethod
    def of(cls, first: Indices, count: Indices, places: int, rng: np.random.Generator) -> _Queue:
        """The classes in random order, but free places first and large classes before small.

        So the small classes fill the last place of every batch, as long as they can: a batch
        of a single class would compare nothing.
        """
        total = int(count.sum())
        batches = batches_of(total, places)
        classes = rng.permutation(len(count))
        classes = classes[np.argsort(count[classes] <= batches, kind="stable")]
        free = batches * places - total
        length = count[classes]
        before = np.cumsum(length) - length
        chunks = np.arange(total) + np.repeat(first[classes] - before, length)
        chunks = np.concatenate([np.full(free, NONE), chunks])
        return cls(chunks, np.concatenate([[free], free + np.cumsum(length)]))

    def began(self, at: int) -> int:
        """Where the class of the chunk at a place of the queue began."""
        number = int(np.searchsorted(self.ends, at, side="right"))
        return int(self.ends[number - 1]) if number else 0

    def goes_on(self, at: int, most: int) -> int:
        """How many chunks from here on, `most` at the most, are of a class that began before."""
        if self.began(at) == at:
            return 0
        end = self.ends[np.searchsorted(self.ends, at, side="right")]
        return int(min(end - at, most))
