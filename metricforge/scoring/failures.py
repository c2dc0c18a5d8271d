"""The failures of a model: its worst queries, and the classes that it confuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from metricforge.contracts import Answers, Dataset
from metricforge.data.image_files import name_of

MOST = 20


@dataclass(frozen=True)
class Failure:
    """A query and its nearest image, by their indices in the dataset; its score, 0 to 1."""

    image: int
    nearest: int
    score: float


@dataclass(frozen=True)
class Confused:
    """Two classes, and how many of their queries have an image of the other as their nearest."""

    classes: tuple[str, str]
    mistakes: int
    queries: int

    @property
    def share(self) -> float:
        return self.mistakes / self.queries


@dataclass(frozen=True)
class Failures:
    """The worst queries, and the pairs of classes that are confused most; the worst first."""

    dataset: Dataset
    worst: Sequence[Failure]
    confused: Sequence[Confused]

    @classmethod
    def of(cls, answers: Answers, dataset: Dataset, indices: Tensor) -> Failures:
        """The failures in the answers to the images at `indices` [M] of a dataset."""
        positions, labels = indices.cpu().numpy(), dataset.labels[indices].cpu().numpy()
        return cls(dataset, _worst(answers, labels, positions), _confused(answers, labels, dataset))

    def to_json(self) -> dict[str, Any]:
        return {
            "worst": [
                {
                    "image": image_name(self.dataset, failure.image),
                    "class": self.class_of(failure.image),
                    "nearest": image_name(self.dataset, failure.nearest),
                    "nearest_class": self.class_of(failure.nearest),
                    "score": failure.score,
                }
                for failure in self.worst
            ],
            "confused": [
                {"classes": list(pair.classes), "mistakes": pair.mistakes, "queries": pair.queries}
                for pair in self.confused
            ],
        }

    def class_of(self, index: int) -> str:
        return self.dataset.classes[int(self.dataset.labels[index])]


def image_name(dataset: Dataset, index: int) -> str | int:
    """An image by its file, or by its index where images are no files."""
    if isinstance(dataset.images, Tensor) or not dataset.images:
        return index
    return name_of(dataset.images[index])


def _worst(answers: Answers, labels: Any, indices: Any) -> list[Failure]:
    """Queries whose nearest is of another class: first the worst of each class, then the next."""
    wrong = np.flatnonzero(labels[answers.queries] != labels[answers.nearest])
    wrong = wrong[answers.nearest[wrong] >= 0]
    order = wrong[np.argsort(answers.scores[wrong], kind="stable")]
    # A class that fails as a whole would fill the list.
    of_class = labels[answers.queries[order]]
    turn = np.zeros(len(order), dtype=np.int64)
    by_class = np.argsort(of_class, kind="stable")
    _, start, inverse = np.unique(of_class[by_class], return_index=True, return_inverse=True)
    turn[by_class] = np.arange(len(order)) - start[inverse]
    chosen = order[np.lexsort((answers.scores[order], turn))][:MOST]
    return [
        Failure(int(indices[q]), int(indices[n]), float(score))
        for q, n, score in zip(
            answers.queries[chosen], answers.nearest[chosen], answers.scores[chosen], strict=True
        )
    ]


def _confused(answers: Answers, labels: Any, dataset: Dataset) -> list[Confused]:
    true, predicted = labels[answers.queries], labels[answers.nearest]
    wrong = (true != predicted) & (answers.nearest >= 0)
    pairs = np.sort(np.stack([true[wrong], predicted[wrong]], axis=1), axis=1)
    names, counts = np.unique(pairs, axis=0, return_counts=True)
    queries = np.bincount(true, minlength=len(dataset.classes))
    every = [
        Confused(
            (dataset.classes[int(a)], dataset.classes[int(b)]), int(n), int(queries[a] + queries[b])
        )
        for (a, b), n in zip(names.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(every, key=lambda pair: (-pair.share, -pair.mistakes, pair.classes))[:MOST]
