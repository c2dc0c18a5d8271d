"""The contract of an evaluation protocol: labelled embeddings in, named estimates out."""

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
    """A metric with its 95 % interval.

    Args:
        value: The metric, e.g. a mean.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Number of units that the interval is over.
        over: Name of the units: "queries", "classes", "episodes".
    """

    value: float
    low: float
    high: float
    n: int
    over: str

    def __float__(self) -> float:
        return self.value

    def __format__(self, spec: str) -> str:
        """Its value by a format of numbers; without one as by `str`."""
        return format(self.value, spec) if spec else str(self)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def __lt__(self, other: Estimate | float) -> bool:
        """By the values alone: whether a difference is sure is for `compare` to say."""
        return self.value < float(other)

    def __le__(self, other: Estimate | float) -> bool:
        return self.value <= float(other)

    def __gt__(self, other: Estimate | float) -> bool:
        return self.value > float(other)

    def __ge__(self, other: Estimate | float) -> bool:
        return self.value >= float(other)


@dataclass(frozen=True)
class Labelled:
    """What a protocol knows of the images that were embedded: one row for each of them.

    Args:
        labels: int64 [N].
        classes: Class names.
        groups: int64 [N], or None.
        trials: Those of the dataset's `trials` whose images are all among these, as rows of these
            images.
        places: int64 [N], indices of the images in the dataset; None: in order.
        queries: bool [N], the images that are queries; None, as `gallery`, if nothing is flagged.
        gallery: bool [N], the images that can be retrieved, or None.
        pairs: int64 [P, 2], those of the dataset's `pairs` whose images are among these, as rows of
            these images; or None.
    """

    labels: Tensor
    classes: tuple[str, ...]
    groups: Tensor | None = None
    trials: Mapping[str, Trials] = field(default_factory=dict)
    places: Tensor | None = None
    queries: Tensor | None = None
    gallery: Tensor | None = None
    pairs: Tensor | None = None


class Validation(NamedTuple):
    """The same model's embeddings of other classes, e.g. to choose a threshold.

    Args:
        embeddings: float32 [M, D].
        images: Labels of the M images.
    """

    embeddings: Tensor
    images: Labelled


@dataclass(frozen=True)
class Scored:
    """The scores that an estimate is the mean of, so that two models can be compared in pairs.

    Args:
        values: float64 [U], one for each query or episode, the same in the same order for any
            model.
        classes: int64 [U] if the units of one class succeed or fail together, as queries do; or
            None.
        over: Name of the units, if `classes` is None.
    """

    values: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None
    over: str = "episodes"


@dataclass(frozen=True)
class Answers:
    """The answer to each query, so that a report can show where a model fails.

    Args:
        queries: int64 [Q], rows of the queries.
        nearest: int64 [Q], row of the first retrieved image of each.
        scores: float64 [Q], 1 for a query with the best possible result.
    """

    queries: NDArray[np.int64]
    nearest: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What a protocol measured: named metrics, their definitions, and notes on them.

    Args:
        estimates: Metrics by name.
        notes: Sentences for the user.
        definitions: The definition of each metric, by its name.
        scores: The scores that an estimate is the mean of, by its name; see :class:`Scored`.
        answers: The answer to each query, or None.
        trials: The drawn episodes, under what follows the @ in the metric's name, as rows of the
            images; a user may save them and have another model answer the same.
    """

    estimates: Mapping[str, Estimate]
    notes: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Scored] = field(default_factory=dict, repr=False, compare=False)
    answers: Answers | None = field(default=None, repr=False, compare=False)
    trials: Mapping[str, Trials] = field(default_factory=dict, repr=False, compare=False)


class EvaluationProtocol(Protocol):
    """A way to test embeddings; the same input gives the same bytes.

    If `evaluate` has a third parameter `validation`, the core passes a :class:`Validation` of the
    same model, or None if there are no validation classes.
    """

    def evaluate(self, embeddings: Tensor, images: Labelled) -> Result:
        """Measure embeddings.

        Args:
            embeddings: float32 [N, D].
            images: Labels of the N images.

        Returns:
            Named metrics with intervals.
        """
