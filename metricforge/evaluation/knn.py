"""Nearest-neighbour classification from some labelled images of every class."""

from __future__ import annotations

import numpy as np

from metricforge.evaluation.centring import Floats
from metricforge.evaluation.neighbor_search import Gallery, Ints


def label_some(labels: Ints, shots: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Choose random labelled images of each class; the others are queries.

    A class with no more images than `shots` is labelled as a whole, and has no queries.

    Args:
        labels: int64 [N].
        shots: Labelled images of each class.
        rng: Source of the choice.

    Returns:
        The labelled rows in random order, and all other rows.
    """
    shuffled = rng.permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, start, inverse = np.unique(labels[order], return_index=True, return_inverse=True)
    position = np.arange(len(order)) - start[inverse]
    # Of two at one distance the search takes the earlier, which must not always be of one class.
    return rng.permutation(order[position < shots]), np.sort(order[position >= shots])


def nearest_label(embeddings: Floats, labels: Ints, known: Ints, queries: Ints) -> Ints:
    """The label of the nearest labelled image, by euclidean distance.

    Args:
        embeddings: [N, D].
        labels: int64 [N].
        known: Labelled rows.
        queries: Rows of the queries [Q].

    Returns:
        int64 [Q].

    Raises:
        DivergedError: An embedding is NaN or infinite.
    """
    found = Gallery(embeddings, known).nearest(queries, 1, lambda _, nearest: nearest)
    nearest = np.concatenate([*found, np.zeros((0, 1), dtype=np.int64)]).ravel()
    return np.asarray(labels[nearest], dtype=np.int64)
