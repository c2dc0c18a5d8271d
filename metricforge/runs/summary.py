"""The content of a run's summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metricforge.contracts import Estimate


@dataclass(frozen=True)
class Confused:
    """See :class:`metricforge.scoring.failures.Confused`."""

    classes: tuple[str, str]
    mistakes: int
    queries: int


@dataclass(frozen=True)
class Failures:
    """The pairs of classes that are confused most."""

    confused: tuple[Confused, ...] = ()


@dataclass(frozen=True)
class Results:
    """Held-out estimates by approach and name."""

    results: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Summary(Results):
    """Held-out estimates, and the training that they are of."""

    notes: tuple[str, ...]
    definitions: Mapping[str, str]
    dataset: str
    closed_set: bool
    test_classes: tuple[str, ...]
    test_images: int
    split_hash: str
    selected_epoch: int
    selected_by: str
    validation: Mapping[str, float]
    epochs: int
    images_seen: int
    seconds: float
    training_notes: tuple[str, ...]
    headline: tuple[str, ...] = ()
    tested_on: str = ""
    failures: Failures = field(default_factory=Failures)
