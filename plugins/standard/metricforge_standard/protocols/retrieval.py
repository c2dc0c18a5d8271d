"""Retrieval: does each image retrieve the others of its class?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from torch import Tensor

from metricforge.contracts import Answers, Labelled, Result, Scored
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import (
    Scores,
    class_means,
    over_classes,
    over_queries,
    score_retrieval,
    warnings_about,
)

MACRO = "-macro"

MANY = 20_000
"""With fewer images an index that is not exact saves too little time for its errors."""

DEFINITIONS = {
    "precision@1": "fraction of images with one of their class as their nearest, as recall@1",
    "r_precision": "fraction of the R nearest that are of the image's class, with R the number of "
    "other images of that class",
    "map@r": "1/R times the sum over i <= R of precision(i) where the i-th nearest is of the "
    "image's class (Musgrave 2020)",
    "ndcg@r": "sum over i <= R of 1 / log2(i + 1) where the i-th nearest is of the image's class, "
    "over that sum for all i",
    "mrr": "1 over the rank of the nearest image of its class, however far it is",
    "recall@1-macro": "recall@1 of each class, mean over classes",
    "map@r-macro": "map@r of each class, mean over classes",
}


class Retrieval:
    """Each image retrieves the others of its class: recall@k, R-precision, MAP@R, NDCG@R, MRR.

    By euclidean distance, leave-one-out over all images (Musgrave 2020), or with the queries and
    the gallery that the dataset flags. An image that is the only one of its class is no query; a
    note counts them. Means are over queries, those of metrics that end in -macro over classes.
    Intervals: see `metricforge.evaluation.over_queries`.

    For millions of queries, `index` "ivf" or "hnsw" searches a part of the images for each. A note
    reports the fraction of the nearest images that it finds, measured by an exact search for some
    queries. Fewer than 20,000 images are always searched exactly.

    Args:
        k: Depths of recall@k, different and 1 or more each.
        index: "exact" compares each query with all images, "ivf" and "hnsw" with a part.

    Reference: Musgrave et al., A Metric Learning Reality Check, 2020.
    """

    def __init__(
        self,
        *,
        k: tuple[int, ...] = (1, 2, 4, 8),
        index: Literal["exact", "ivf", "hnsw"] = "exact",
    ) -> None:
        if not k or min(k) < 1 or len(set(k)) < len(k):
            raise UsageError("retrieval needs different depths k, each 1 or more, e.g. k=1+5.")
        self.ks, self.index = tuple(sorted(k)), index

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        """Embeddings float32 [N, D] to recall@k (for every k) and the other means.

        Raises:
            DataError: No query has an image of its class to retrieve.
            DivergedError: The embeddings have NaN or infinity.
        """
        vectors = embeddings.detach().cpu().numpy()
        labels = images.labels.cpu().numpy()
        queries, gallery = _rows(images.queries), _rows(images.gallery)
        ks = sorted({1, *self.ks})
        searched = len(labels) if gallery is None else len(gallery)
        index = self.index if searched >= MANY else "exact"
        scores = score_retrieval(vectors, labels, ks, queries=queries, gallery=gallery, index=index)
        query_labels = labels[scores.queries]
        if len(query_labels) == 0:
            raise _nothing_to_find(queries, len(labels))
        columns = self._columns(scores)
        estimates = {name: over_queries(values, query_labels) for name, values in columns.items()}
        compared = {name: Scored(values, query_labels) for name, values in columns.items()}
        for name, values in (("recall@1", scores.recall[1]), ("map@r", scores.map_at_r)):
            estimates[name + MACRO] = over_classes(values, query_labels)
            compared[name + MACRO] = Scored(class_means(values, query_labels), over="classes")
        sizes = [len(labels) if rows is None else len(rows) for rows in (queries, gallery)]
        return Result(
            estimates,
            (
                *self._notes(scores, *sizes, apart=queries is not None),
                *_reach(estimates["map@r"].over, len(np.unique(query_labels))),
                *warnings_about(vectors),
            ),
            self._definitions(),
            compared,
            Answers(scores.queries, scores.nearest, scores.map_at_r),
        )

    def _columns(self, scores: Scores) -> dict[str, np.ndarray]:
        """The scores of the queries by the name of their mean."""
        return {f"recall@{k}": scores.recall[k] for k in self.ks} | {
            "precision@1": scores.recall[1],
            "r_precision": scores.r_precision,
            "map@r": scores.map_at_r,
            "ndcg@r": scores.ndcg_at_r,
            "mrr": scores.reciprocal_rank,
        }

    def _definitions(self) -> dict[str, str]:
        recall = {
            f"recall@{k}": "fraction of images with one of their class "
            + ("as their nearest" if k == 1 else f"among the {k} nearest")
            for k in self.ks
        }
        return recall | DEFINITIONS

    def _notes(self, scores: Scores, queries: int, gallery: int, *, apart: bool) -> Iterator[str]:
        searched = gallery if apart else gallery - 1
        if apart:
            yield f"{queries} queries look for {gallery} images of the gallery."
        if scores.alone:
            what = "queries have no image of their class in the gallery" if apart else (
                "images are the only one of their class"
            )  # fmt: skip
            yield (
                f"{scores.alone} of {queries} {what}: they have nothing to find, and are left out "
                "of the means but not of the gallery."
            )
        if max(self.ks) > searched:
            deep = ", ".join(f"recall@{k}" for k in self.ks if k > searched)
            yield f"{deep} looks at all {searched} other images, as there are no more."
        if self.index != "exact" and gallery < MANY:
            yield f"index={self.index} is for {MANY:,} images and more: these are searched exactly."
        elif self.index != "exact":
            yield (
                f"index={self.index} found {scores.found:.2%} of the nearest that an exact search "
                "finds; all numbers may be lower by what it missed, and mrr counts a first image "
                "that it did not find as 0."
            )


def _rows(flags: Tensor | None) -> np.ndarray | None:
    return None if flags is None else np.flatnonzero(flags.cpu().numpy())


def _nothing_to_find(queries: np.ndarray | None, count: int) -> DataError:
    if queries is not None:
        return DataError(
            f"retrieval has nothing to find: none of {len(queries)} queries has an image of its "
            "class in the gallery; flag other images, or none at all."
        )
    return DataError(
        f"retrieval needs a class with two images, and none of these {count} images "
        "shares its class with another: hold out classes with more images."
    )


def _reach(over: str, classes: int) -> tuple[str, ...]:
    if over == "classes":
        return ()
    return (
        f"With {classes} {'class' if classes == 1 else 'classes'} the intervals are over queries: "
        "they speak of other images of these classes, not of other classes.",
    )
