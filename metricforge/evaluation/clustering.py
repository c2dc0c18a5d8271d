"""Clustering: do the clusters of k-means on the embeddings match the classes?"""

from __future__ import annotations

import faiss
import numpy as np
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from metricforge.evaluation.centring import Floats, centred
from metricforge.evaluation.neighbor_search import Ints

ITERATIONS = 20


def clusters_of(embeddings: Floats, count: int, *, seed: int = 0) -> Ints:
    """Cluster embeddings by k-means.

    Args:
        embeddings: [N, D].
        count: Number of clusters.
        seed: Seed of the start.

    Returns:
        The cluster of each embedding, int64 [N].

    Raises:
        DivergedError: An embedding is NaN or infinite.
    """
    points = centred(embeddings)
    most = -(-len(points) // count) + 1
    kmeans = faiss.Kmeans(
        points.shape[1],
        count,
        niter=ITERATIONS,
        seed=seed,
        # faiss warns of few points in a cluster, and samples many.
        min_points_per_centroid=1,
        max_points_per_centroid=most,
    )
    kmeans.train(points)
    return np.asarray(kmeans.index.search(points, 1)[1].ravel(), dtype=np.int64)


def agreement(labels: Ints, clusters: Ints) -> dict[str, float]:
    """NMI, AMI and pairwise F1 of classes and clusters.

    nmi: mutual information over the mean of both entropies. ami: the same, adjusted for chance
    (Vinh 2010). f1: of the pairs of images that are together in a class or in a cluster, the
    harmonic mean of precision and recall.

    Args:
        labels: int64 [N].
        clusters: int64 [N].

    Returns:
        The metrics "nmi", "ami" and "f1".

    Reference: Vinh, Epps & Bailey 2010, Information theoretic measures for clusterings comparison.
    """
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ami": float(adjusted_mutual_info_score(labels, clusters)),
        "f1": _pairwise_f1(labels, clusters),
    }


def _pairwise_f1(labels: Ints, clusters: Ints) -> float:
    table = contingency_matrix(labels, clusters, sparse=True).astype(np.int64)
    both = int((table.data * (table.data - 1)).sum())
    of_class, of_cluster = (
        int((sums * (sums - 1)).sum())
        for sums in (np.asarray(table.sum(axis=axis)).ravel() for axis in (1, 0))
    )
    return 2 * both / (of_class + of_cluster) if of_class + of_cluster else 0.0
