"""Retrieval: each query retrieves the other images of its class.

The metrics are those of Musgrave et al. 2020, "A Metric Learning Reality Check", the reciprocal
rank of Voorhees 1999 and the gain of Järvelin & Kekäläinen 2002 with the discount of Burges et al.
2005, for one grade of relevance.

Shapes: N images, Q queries, K neighbours of each; R is the number of other images of a query's
class in the gallery, and differs from query to query.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation.ann_index import IndexKind
from metricforge.evaluation.centring import Floats
from metricforge.evaluation.neighbor_search import Gallery, Ints

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]

SAMPLED_QUERIES = 1_000
"""The number of queries to compare an approximate index with an exact search."""


@dataclass(frozen=True)
class Scores:
    """The scores of every query that has an image to retrieve.

    Args:
        queries: int64 [Q], their rows.
        recall: float64 [Q] for each k.
        r_precision: float64 [Q].
        map_at_r: float64 [Q].
        ndcg_at_r: float64 [Q].
        reciprocal_rank: float64 [Q].
        nearest: int64 [Q], the row of the nearest other of each.
        alone: Number of queries without another image of their class: they have no score, and stay
            in the gallery of the others.
        found: Fraction of the nearest images that the index found, 1 for an exact one.
    """

    queries: Ints
    recall: dict[int, Doubles]
    r_precision: Doubles
    map_at_r: Doubles
    ndcg_at_r: Doubles
    reciprocal_rank: Doubles
    nearest: Ints
    alone: int
    found: float = 1.0


def recall_at(hits: Bools, k: int) -> Doubles:
    """1 for each query with any hit among its k nearest, else 0.

    Args:
        hits: bool [Q, K].
        k: Depth; beyond K, all K neighbours count.

    Returns:
        float64 [Q].
    """
    return np.asarray(hits[:, :k].any(axis=1), dtype=np.float64)


def r_precision(hits: Bools, relevant: Ints) -> Doubles:
    """The fraction of hits among the R nearest.

    Args:
        hits: bool [Q, K].
        relevant: int64 [Q], R of each query, 1 or more.

    Returns:
        float64 [Q].
    """
    return np.asarray(_within(hits, relevant).sum(axis=1) / relevant, dtype=np.float64)


def map_at_r(hits: Bools, relevant: Ints) -> Doubles:
    """(1/R) * the sum over i <= R of precision(i) * hit(i).

    It is 1 only if the R nearest are all of the query's class; unlike R-precision it also decreases
    when hits come late.

    Args:
        hits: bool [Q, K].
        relevant: int64 [Q], R of each query, 1 or more.

    Returns:
        float64 [Q].

    Reference: Musgrave, Belongie & Lim 2020, A metric learning reality check.
    """
    counted = _within(hits, relevant)
    rank = np.arange(1, hits.shape[1] + 1)
    precision = np.cumsum(counted, axis=1, dtype=np.int32) / rank
    return np.asarray(np.einsum("qk,qk->q", precision, counted) / relevant, dtype=np.float64)


def ndcg_at_r(hits: Bools, relevant: Ints) -> Doubles:
    """The sum over i <= R of hit(i) / log2(i + 1), over the same with all hits.

    Args:
        hits: bool [Q, K].
        relevant: int64 [Q], R of each query, 1 or more.

    Returns:
        float64 [Q].

    Reference: Järvelin & Kekäläinen 2002, Cumulated gain-based evaluation of IR techniques. Burges
        et al. 2005, Learning to rank using gradient descent.
    """
    gain = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    best = np.cumsum(gain)[np.minimum(relevant, hits.shape[1]) - 1]
    # At most 1, which the order of summation may exceed by a rounding error.
    return np.asarray(np.minimum(_within(hits, relevant) @ gain / best, 1.0), dtype=np.float64)


def score(
    embeddings: Floats,
    labels: Ints,
    ks: Sequence[int],
    *,
    queries: Ints | None = None,
    gallery: Ints | None = None,
    index: IndexKind = "exact",
    rank_all: bool = True,
    seed: int = 0,
) -> Scores:
    """Score queries against a gallery of other images, by default all against all others.

    Without an image to retrieve for any query, the scores are empty. An index that is not exact may
    miss images and then scores too low.

    Args:
        embeddings: [N, D].
        labels: int64 [N].
        ks: Depths of recall@k, 1 or more each.
        queries: Rows of the queries, ascending. Default: all.
        gallery: Rows that can be retrieved, ascending, which may include queries. Default: all.
        index: "exact", "ivf" or "hnsw".
        rank_all: Whether a second pass ranks a first hit beyond the depth searched, max(ks) or R;
            otherwise, and with an index that is not exact, its reciprocal rank is 0.
        seed: Order of exact ties.

    Returns:
        The scores of each query that has an image to retrieve.

    Raises:
        DivergedError: An embedding is NaN or infinite.
    """
    if len(embeddings) != len(labels):
        raise ValueError(f"{len(embeddings)} embeddings have {len(labels)} labels")
    searched = Gallery(embeddings, gallery, kind=index, seed=seed)
    query_rows = np.arange(len(labels)) if queries is None else queries
    classes = np.unique(labels, return_inverse=True)[1]
    relevant = _relevant(searched, query_rows, classes)
    alone = int((relevant == 0).sum())
    query_rows, relevant = query_rows[relevant > 0], relevant[relevant > 0]
    columns = np.zeros((len(query_rows), len(ks) + 4))
    nearest = np.zeros(len(query_rows), dtype=np.int64)
    found = [] if len(query_rows) else [1.0]
    for part in _by_depth(relevant, searched.place[query_rows] >= 0):
        depth = max([*ks, int(relevant[part].max())])
        if index != "exact":
            share = len(part) / len(query_rows)
            found.append(share * _index_recall(searched, query_rows[part], depth, seed, share))
        columns[part], nearest[part] = _scored(
            searched, query_rows[part], classes, relevant[part], ks, depth
        )
    if rank_all and index == "exact":
        missed = np.flatnonzero(columns[:, -1] == 0)
        columns[missed, -1] = 1 / searched.rank_of_first(query_rows[missed], classes)
    return Scores(
        queries=query_rows,
        recall={k: columns[:, column] for column, k in enumerate(ks)},
        r_precision=columns[:, -4],
        map_at_r=columns[:, -3],
        ndcg_at_r=columns[:, -2],
        reciprocal_rank=columns[:, -1],
        nearest=nearest,
        alone=alone,
        found=1.0 if index == "exact" else sum(found),
    )


def _index_recall(gallery: Gallery, queries: Ints, depth: int, seed: int, share: float) -> float:
    """The fraction of the nearest, to the depth that is scored, that an approximate index finds.

    Of a sample of these queries, which are that `share` of all.
    """
    rng = np.random.default_rng(seed)
    count = min(len(queries), math.ceil(share * SAMPLED_QUERIES))
    some = rng.choice(queries, count, replace=False)
    return gallery.found_share(np.sort(some), depth)


def _by_depth(relevant: Ints, inside: Bools) -> Iterator[Ints]:
    """Queries in parts of similar R, so that a large class does not make all others search deep.

    Queries in the gallery are separate, as they have one image less to retrieve.
    """
    octave = 2 * np.frexp(relevant.astype(np.float64))[1] + inside
    for some in np.unique(octave):
        yield np.flatnonzero(octave == some)


def _scored(
    gallery: Gallery, queries: Ints, classes: Ints, relevant: Ints, ks: Sequence[int], depth: int
) -> tuple[Doubles, Ints]:
    """The columns [Q, C] of some queries and their nearest others [Q], from one search."""
    # NOBODY, an index's miss, gets the class at the end, -1, which matches none.
    class_of = np.append(classes, -1).astype(np.int32)
    relevant_of = np.zeros(len(classes), dtype=np.int64)
    relevant_of[queries] = relevant

    def then(rows: Ints, neighbours: Ints) -> tuple[Doubles, Ints]:
        hits = class_of[neighbours] == class_of[rows, None]
        return _columns(hits, relevant_of[rows], ks), neighbours[:, 0].copy()

    tiles = list(gallery.nearest(queries, depth, then))
    return np.concatenate([t[0] for t in tiles]), np.concatenate([t[1] for t in tiles])


def _columns(hits: Bools, relevant: Ints, ks: Sequence[int]) -> Doubles:
    """All scores [Q, C]; the last is the reciprocal rank, 0 where no hit is among the K."""
    first = hits.argmax(axis=1)
    reciprocal = hits[np.arange(len(hits)), first] / (first + 1)
    recalls = [recall_at(hits, k) for k in ks]
    measures = [measure(hits, relevant) for measure in (r_precision, map_at_r, ndcg_at_r)]
    return np.stack([*recalls, *measures, reciprocal], axis=1)


def _relevant(gallery: Gallery, queries: Ints, classes: Ints) -> Ints:
    """The number of others of its class that each query [Q] could retrieve; classes [N] from 0."""
    sizes = np.bincount(classes[gallery.rows], minlength=int(classes.max(initial=0)) + 1)
    return np.asarray(sizes[classes[queries]] - (gallery.place[queries] >= 0), dtype=np.int64)


def _within(hits: Bools, relevant: Ints) -> Bools:
    """Hits among each query's R nearest."""
    return np.asarray(hits & (np.arange(hits.shape[1]) < relevant[:, None]))
