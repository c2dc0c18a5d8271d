"""What a protocol is given and gives: labelled embeddings, and named estimates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from metricforge.contracts.dataset import Trials

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A measured number with its 95 % interval.

    `n` counts what the interval is over, and `over` names it: "queries", "classes", "episodes".
    """

    value: float
    low: float
    high: float
    n: int
    over: str


@dataclass(frozen=True)
class Labelled:
    """What a protocol may know of the images that were embedded: one row for each of them.

    `labels` int64 [N], `classes` their names, `groups` int64 [N] or None; of the dataset's
    `trials`, as rows of these images, those that are whole among them. `places` int64 [N] are
    those of the images in the dataset; None: in order. `queries` and `gallery` are bool [N], or
    both None where nothing is flagged.
    """

    labels: Tensor
    classes: tuple[str, ...]
    groups: Tensor | None = None
    trials: Mapping[str, Trials] = field(default_factory=dict)
    places: Tensor | None = None
    queries: Tensor | None = None
    gallery: Tensor | None = None


class Validation(NamedTuple):
    """The same model's embeddings [M, D] of other classes, to choose a threshold or the like by."""

    embeddings: Tensor
    images: Labelled


@dataclass(frozen=True)
class Scored:
    """The scores that an estimate is the mean of, so that two models can be compared in pairs.

    `values` float64 [U], one for each query or episode, the same in the same order for any model;
    `classes` int64 [U] where those of one class succeed or fail together, as queries do; else
    `over` says what the values are of.
    """

    values: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None
    over: str = "episodes"


@dataclass(frozen=True)
class Answers:
    """What each query was answered with, so that a report can show where a model fails.

    By row: `queries` int64 [Q], and `nearest` int64 [Q] the image found first; `scores` float64
    [Q], 1 for a query that went as well as can be.
    """

    queries: NDArray[np.int64]
    nearest: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What a protocol measured: named numbers, their definitions, and what to know of them.

    `scores` has, by the names of estimates, what these are the means of; see :class:`Scored`.
    `trials` are the episodes that were drawn, by what follows the @ in the name of the number, as
    rows of the images; the user may keep them and have another model answer the same.
    """

    estimates: Mapping[str, Estimate]
    notes: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Scored] = field(default_factory=dict, repr=False, compare=False)
    answers: Answers | None = field(default=None, repr=False, compare=False)
    trials: Mapping[str, Trials] = field(default_factory=dict, repr=False, compare=False)


class EvaluationProtocol(Protocol):
    """A way to test embeddings; the same input gives the same bytes.

    One whose `evaluate` takes a third argument by the name `validation` is given a
    :class:`Validation` of the same model, or None where there are no classes to validate on.
    """

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        """Embeddings float32 [N, D] of labelled images to named numbers with intervals."""
