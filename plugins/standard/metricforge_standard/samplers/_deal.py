"""Deals the chunks of all classes to batches, so that a batch holds a class once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metricforge_standard.samplers._class_index import Indices

NONE = -1


def batches_of(chunks: int, slots: int) -> int:
    """The number of batches of at most `slots` chunks."""
    return -(-chunks // slots)


def deal(first: Indices, count: Indices, slots: int, rng: np.random.Generator) -> Indices:
    """Deal the chunks of classes to batches of `slots` chunks.

    Class c has the `count[c]` chunks from the number `first[c]` on, both [C]. Returns the chunks of
    each batch, [batches, slots], NONE for a free slot. A class of at most one chunk a batch comes
    at most once in each; a larger class is spread evenly. The batches differ by one
    chunk at most, and which classes meet is random.
    """
    queue = _Queue.of(first, count, slots, rng)
    batches = len(queue.chunks) // slots
    dealt = np.empty((batches, slots), dtype=np.int64)
    # The queue fills the first slot of every batch, then the second, each time in another order.
    # A class with no more chunks than batches ends in the next slot at the latest, and there
    # gets the batches without it: `held` is how often each batch has it.
    held = np.zeros(batches, dtype=np.int64)
    for slot in range(slots):
        begin = slot * batches
        order = rng.permutation(batches)
        goes_on = queue.goes_on(begin, batches)
        order = _least_first(order, held, goes_on)
        dealt[order, slot] = queue.chunks[begin : begin + batches]
        began = queue.began(begin + batches - 1) - begin
        if began >= 0:
            held[:] = 0
        held[order[max(began, 0) :]] += 1
    return dealt


def _least_first(order: Indices, held: Indices, first: int) -> Indices:
    """`order` with the `first` batches that held least moved to its front."""
    if first == 0:
        return order
    chosen = np.argsort(held[order], kind="stable")[:first]
    return np.concatenate([order[chosen], np.delete(order, chosen)])


@dataclass(frozen=True)
class _Queue:
    """All chunks, class by class; `ends` are the positions where classes end."""

    chunks: Indices
    ends: Indices

    @classmethod
    def of(cls, first: Indices, count: Indices, slots: int, rng: np.random.Generator) -> _Queue:
        """The classes in random order, but free slots first and large classes before small.

        Small classes then fill the last slot of every batch if possible: a batch of a single
        class would compare nothing.
        """
        total = int(count.sum())
        batches = batches_of(total, slots)
        classes = rng.permutation(len(count))
        classes = classes[np.argsort(count[classes] <= batches, kind="stable")]
        free = batches * slots - total
        length = count[classes]
        before = np.cumsum(length) - length
        chunks = np.arange(total) + np.repeat(first[classes] - before, length)
        chunks = np.concatenate([np.full(free, NONE), chunks])
        return cls(chunks, np.concatenate([[free], free + np.cumsum(length)]))

    def began(self, at: int) -> int:
        """The position where the class of the chunk at `at` begins."""
        number = int(np.searchsorted(self.ends, at, side="right"))
        return int(self.ends[number - 1]) if number else 0

    def goes_on(self, at: int, most: int) -> int:
        """How many chunks from `at` on, up to `most`, are of a class that began before."""
        if self.began(at) == at:
            return 0
        end = self.ends[np.searchsorted(self.ends, at, side="right")]
        return int(min(end - at, most))
