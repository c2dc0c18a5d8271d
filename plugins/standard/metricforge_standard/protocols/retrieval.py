"""Retrieval: can each image find the others of its class?"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from metricforge.contracts import Labelled, Result, Scored
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import Scores, over_queries, score_retrieval, warnings_about

DEFINITIONS = {
    "r_precision": "share of the R nearest that are of the image's class, with R the number of "
    "other images of that class",
    "map@r": "1/R times the sum over i <= R of precision(i) where the i-th nearest is of the "
    "image's class (Musgrave 2020)",
}


class Retrieval:
    """Each image looks for the others of its class: recall@k, R-precision and MAP@R.

    Leave-one-out over all images given, by euclidean distance (Musgrave 2020). `k` is the list
    of depths for recall@k, joined by "+". Images that are the only one of their class ask
    nothing; they are counted in a note. Intervals: see `metricforge.evaluation.over_queries`.
    """

    def __init__(self, *, k: str = "1+2+4+8") -> None:
        self.ks = _depths(k)

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        """Embeddings float32 [N, D] to recall@k (for every k), r_precision and map@r.

        Raises DataError when no class has two images, DivergedError for NaN or infinity.
        """
        vectors = embeddings.detach().cpu().numpy()
        labels = images.labels.cpu().numpy()
        scores = score_retrieval(vectors, labels, self.ks)
        if len(scores.queries) == 0:
            raise DataError(
                f"retrieval needs a class with two images, and none of these {len(labels)} images "
                "shares its class with another: hold out classes with more images."
            )
        asked = labels[scores.queries]
        columns = {f"recall@{k}": values for k, values in scores.recall.items()}
        columns |= {"r_precision": scores.r_precision, "map@r": scores.map_at_r}
        estimates = {name: over_queries(values, asked) for name, values in columns.items()}
        over = estimates["map@r"].over
        notes = (*self._notes(scores, len(labels)), *_reach(over, len(np.unique(asked))))
        scored = {name: Scored(values, asked) for name, values in columns.items()}
        return Result(estimates, (*notes, *warnings_about(vectors)), self._definitions(), scored)

    def _definitions(self) -> dict[str, str]:
        recall = {
            f"recall@{k}": "share of images with one of their class "
            + ("as their nearest" if k == 1 else f"among the {k} nearest")
            for k in self.ks
        }
        return recall | DEFINITIONS

    def _notes(self, scores: Scores, count: int) -> tuple[str, ...]:
        notes = []
        if scores.alone:
            notes.append(
                f"{scores.alone} of {count} images are the only one of their class: they have "
                "nothing to find, and are left out of the means but not of the gallery."
            )
        if max(self.ks) > count - 1:
            deep = ", ".join(f"recall@{k}" for k in self.ks if k > count - 1)
            notes.append(f"{deep} looks at all {count - 1} other images, as there are no more.")
        return tuple(notes)


def _reach(over: str, classes: int) -> tuple[str, ...]:
    if over == "classes":
        return ()
    return (
        f"With {classes} {'class' if classes == 1 else 'classes'} the intervals are over queries: "
        "they speak of other images of these classes, not of other classes.",
    )


def _depths(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split("+")]
    depths = [int(part) for part in parts if part.isascii() and part.isdigit()]
    if len(depths) < len(parts) or min(depths) < 1 or len(set(depths)) < len(depths):
        raise UsageError(
            f"option 'k' of protocol 'retrieval' takes different whole numbers from 1 up, joined "
            f"by '+', such as 1+2+4+8, not '{text}'."
        )
    return tuple(sorted(depths))
