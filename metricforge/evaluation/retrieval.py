"""Leave-one-out retrieval: each image asks for the other images of its class.

The metrics are those of Musgrave et al. 2020, "A Metric Learning Reality Check".
Shapes: N images, Q queries, K neighbours of each; R is the number of other images of a
query's class, and differs from query to query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation.search import Floats, Ints, neighbours

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The scores of every query that has something to find.

    `queries` [Q] are their rows; `recall` (by k), `r_precision` and `map_at_r` are float64 [Q].
    `alone` counts the images that are the only one of their class: they have no score, and
    stay in the gallery of the others.
    """

    queries: Ints
    recall: dict[int, Doubles]
    r_precision: Doubles
    map_at_r: Doubles
    alone: int


def recall_at(hits: Bools, k: int) -> Doubles:
    """1 for each query with any hit among its k nearest, else 0; hits [Q, K] to [Q].

    A k beyond K sees all K neighbours.
    """
    return np.asarray(hits[:, :k].any(axis=1), dtype=np.float64)


def r_precision(hits: Bools, relevant: Ints) -> Doubles:
    """The share of hits among the R nearest; hits [Q, K] and relevant (R >= 1) [Q] to [Q]."""
    return np.asarray(_within(hits, relevant).sum(axis=1) / relevant, dtype=np.float64)


def map_at_r(hits: Bools, relevant: Ints) -> Doubles:
    """(1/R) * the sum over i <= R of precision(i) * hit(i); hits [Q, K], relevant [Q] to [Q].

    1 only when the R nearest are all of the query's class; unlike R-precision it also falls
    when the hits come late (Musgrave 2020).
    """
    counted = _within(hits, relevant)
    rank = np.arange(1, hits.shape[1] + 1)
    precision = np.cumsum(counted, axis=1) / rank
    return np.asarray((precision * counted).sum(axis=1) / relevant, dtype=np.float64)


def score(embeddings: Floats, labels: Ints, ks: Sequence[int], *, seed: int = 0) -> Scores:
    """Score every image as a query against all others, in one search.

    Embeddings [N, D], labels [N], ks >= 1; `seed` orders exact ties. Without two images of
    any class, the scores are empty. Raises DivergedError for NaN or infinite embeddings.
    """
    if len(embeddings) != len(labels):
        raise ValueError(f"{len(embeddings)} embeddings have {len(labels)} labels")
    relevant = _others_of_class(labels)
    depth = max(*ks, int(relevant.max(initial=0)))
    tiles = [
        _score_tile(labels[found] == labels[rows, None], relevant[rows], ks)
        for rows, found in neighbours(embeddings, depth, seed=seed)
    ]
    columns = np.concatenate([*tiles, np.zeros((0, len(ks) + 2))])
    return Scores(
        queries=np.flatnonzero(relevant),
        recall={k: columns[:, place] for place, k in enumerate(ks)},
        r_precision=columns[:, -2],
        map_at_r=columns[:, -1],
        alone=int((relevant == 0).sum()),
    )


def _score_tile(hits: Bools, relevant: Ints, ks: Sequence[int]) -> Doubles:
    asked = relevant > 0
    hits, relevant = hits[asked], relevant[asked]
    recalls = [recall_at(hits, k) for k in ks]
    return np.stack([*recalls, r_precision(hits, relevant), map_at_r(hits, relevant)], axis=1)


def _others_of_class(labels: Ints) -> Ints:
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] - 1, dtype=np.int64)


def _within(hits: Bools, relevant: Ints) -> Bools:
    """Hits among each query's R nearest."""
    return np.asarray(hits & (np.arange(hits.shape[1]) < relevant[:, None]))
