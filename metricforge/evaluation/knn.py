"""Nearest-neighbour classification from some labelled images of every class."""

from __future__ import annotations

import faiss
import numpy as np

from metricforge.evaluation.neighbor_search import Floats, Ints, centred


def label_some(labels: Ints, shots: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """The rows of `shots` random images of each class, in random order, and of all others.

    A smaller class is labelled as a whole, and asks nothing.
    """
    shuffled = rng.permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, start, inverse = np.unique(labels[order], return_index=True, return_inverse=True)
    place = np.arange(len(order)) - start[inverse]
    # Of two at one distance the search takes the earlier: no class must always be that.
    return rng.permutation(order[place < shots]), np.sort(order[place >= shots])


def nearest_label(embeddings: Floats, labels: Ints, known: Ints, asked: Ints) -> Ints:
    """The label [Q] of the nearest of the rows `known` for each of the rows `asked` [Q].

    By euclidean distance of embeddings [N, D]; labels [N]. Raises DivergedError for NaN or
    infinite embeddings.
    """
    points = centred(embeddings)
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points[known])
    places = index.search(points[asked], 1)[1].ravel()
    return np.asarray(labels[known[places]], dtype=np.int64)
