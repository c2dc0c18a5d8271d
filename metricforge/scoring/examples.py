"""Examples of what a model retrieves: of easy classes and of hard ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metricforge.contracts import Answers, Labelled
from metricforge.evaluation import Gallery, class_means

CLASSES = 6
NEAREST = 5


@dataclass(frozen=True)
class Example:
    """A query and the images nearest to it, nearest first, as rows of the embeddings."""

    query: int
    nearest: tuple[int, ...]


def examples(answers: Answers, embeddings: Any, images: Labelled) -> Sequence[Example]:
    """A query of each of some classes, from the one that is retrieved best to the worst.

    The classes are evenly among all, in the order of their mean score. Of each it is the query with
    the median score, so that none is chosen by its looks.

    Args:
        answers: The answers of retrieval to some of the embeddings.
        embeddings: float32 [N, D].
        images: Their labels; if some are flagged as gallery, only these are retrieved.
    """
    labels = images.labels.cpu().numpy()[answers.queries]
    of_class = np.unique(labels)
    order = of_class[np.argsort(-class_means(answers.scores, labels), kind="stable")]
    evenly = np.unique(np.linspace(0, len(order) - 1, CLASSES).round().astype(int))
    queries = np.array([_median_of(answers, labels == name) for name in order[evenly]])
    members = None if images.gallery is None else np.flatnonzero(images.gallery.cpu().numpy())
    found = Gallery(embeddings, members).nearest(queries, NEAREST, lambda _, nearest: nearest)
    nearest = np.concatenate(list(found))
    return [Example(int(q), tuple(row.tolist())) for q, row in zip(queries, nearest, strict=True)]


def _median_of(answers: Answers, of_class: Any) -> int:
    """The query of a class that has its median score; of two the one with the lower."""
    queries, scores = answers.queries[of_class], answers.scores[of_class]
    return int(queries[np.argsort(scores, kind="stable")[(len(queries) - 1) // 2]])
