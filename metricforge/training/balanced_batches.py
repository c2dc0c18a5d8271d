"""Batches without a sampler: balanced by class, in an order that any miner takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Pairs, Triplets, TupleKind

Queues = list[list[int]]
"""Images by class, each list emptied from its end."""


def balanced_batches(
    labels: Tensor, classes: int, per_class: int, kind: TupleKind, rng: np.random.Generator
) -> list[Tensor]:
    """Batches of so many classes and images of each, int64 [about classes * per_class] each.

    Every image of `labels` [M] comes at most once; classes, and chunks of a class, are cut evenly.
    Within a batch the images are in the order of pairs [a1, b1, a2, b2, ...], about half of them of
    one class, or of triplets [a1, p1, n1, ...], for miners that read their tuples off the indices.
    Images that fit no tuple, e.g. all of a class that is alone in a batch of triplets, are in no
    batch.
    """
    chunks: list[list[list[int]]] = []
    for label in labels.unique().tolist():
        images = rng.permutation(np.flatnonzero(labels.numpy() == label))
        chunks.append([c.tolist() for c in np.array_split(images, -(-len(images) // per_class))])
    batches = []
    for turn in range(max(map(len, chunks), default=0)):
        of_turn = [of_class[turn] for of_class in chunks if turn < len(of_class)]
        order = rng.permutation(len(of_turn))
        for part in np.array_split(order, -(-len(of_turn) // classes)):
            batches.append(torch.tensor(list(_ordered([of_turn[i] for i in part], kind))))
    return [batch for batch in batches if len(batch)]


def _ordered(chunks: Sequence[Sequence[int]], kind: TupleKind) -> Iterator[int]:
    """The images of a batch, by class, in an order that suits tuples of that kind."""
    queues = [list(chunk) for chunk in chunks]
    if kind is Triplets:
        yield from _triplets(queues)
    elif kind is Pairs:
        yield from _pairs(queues)
    else:
        yield from (image for queue in queues for image in queue)


def _pairs(queues: Queues) -> Iterator[int]:
    """About half of each class in pairs, then the others in turns, so that neighbours differ."""
    unpaired: Queues = []
    for number, queue in enumerate(queues):
        # Of classes of two images, every second one forms a pair.
        together = 2 * ((len(queue) + 2 * (number % 2)) // 4)
        yield from queue[:together]
        unpaired.append(queue[together:])
    turns = [
        image for turn in range(max(map(len, unpaired))) for q in unpaired for image in q[turn:][:1]
    ]
    yield from turns[: len(turns) // 2 * 2]


def _triplets(queues: Queues) -> Iterator[int]:
    """Two images of the largest remaining class, and one of the second largest, in turns."""
    while True:
        largest, *smaller = sorted(queues, key=len, reverse=True)
        second = smaller[0] if smaller else []
        if len(largest) < 2 or not second:
            return
        yield from (largest.pop(), largest.pop(), second.pop())
