"""Clustering: do clusters of the embeddings match the classes?"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from metricforge.contracts import Labelled, Result, Scored
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import agreement, clusters_of, over_seeds, warnings_about

DEFINITIONS = {
    "nmi": "mutual information of classes and clusters over the mean of their entropies, with as "
    "many k-means clusters as classes",
    "ami": "the same, less what chance gives: 0 for random clusters (Vinh 2010)",
    "f1": "harmonic mean of precision and recall of the pairs of images that share a cluster",
}


class Clustering:
    """k-means with as many clusters as classes: NMI, AMI and pairwise F1.

    The mean over `seeds` runs of k-means from different starts. The interval is over these runs: it
    covers the starts alone, not other images or classes.

    Args:
        seeds: Runs of k-means, 1 or more, with the seeds 0, 1, ...
    """

    def __init__(self, *, seeds: int = 5) -> None:
        if seeds < 1:
            raise UsageError("clustering needs seeds >= 1.")
        self.seeds = seeds

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        """Embeddings float32 [N, D] to nmi, ami and f1.

        Raises:
            DataError: There are fewer than two classes.
            DivergedError: The embeddings have NaN or infinity.
        """
        vectors, labels = embeddings.detach().cpu().numpy(), images.labels.cpu().numpy()
        count = len(np.unique(labels))
        if count < 2:
            raise DataError("clustering needs at least two classes; hold out more.")
        runs = [agreement(labels, clusters_of(vectors, count, seed=s)) for s in range(self.seeds)]
        values = {name: np.array([scores[name] for scores in runs]) for name in DEFINITIONS}
        # A metric adjusted for chance may fall below zero.
        least = {"ami": -1.0}
        estimates = {
            name: over_seeds(each, least=least.get(name, 0.0)) for name, each in values.items()
        }
        scores = {name: Scored(each, over="seeds") for name, each in values.items()}
        return Result(estimates, warnings_about(vectors), DEFINITIONS, scores)
