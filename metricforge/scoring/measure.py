"""Held-out metrics of a model and of its baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from metricforge.contracts import (
    Dataset,
    Estimate,
    EvaluationProtocol,
    Result,
    Trials,
    Validation,
)
from metricforge.errors import DivergedError, UsageError
from metricforge.scoring.apply import apply_protocol, labelled_part
from metricforge.scoring.baselines import BEFORE_TRAINING, PIXELS, TRAINED
from metricforge.scoring.by_class import as_csv
from metricforge.scoring.failures import Failures, image_name

SELECT = "map@r"
"""The metric on validation classes that chooses the epoch, by default."""

ERRORS = ("error", "eer", "far@", "frr@")
"""The prefixes of metrics for which lower is better."""


def goodness(number: str, value: float) -> float:
    """The metric, with its sign changed if lower is better."""
    return -value if number.startswith(ERRORS) else value


@dataclass(frozen=True, repr=False)
class Measured:
    """The metrics of each approach on the same images and episodes.

    Args:
        results: Metrics by approach (trained, a baseline), then by name.
        headline: Names of the main metrics.
        notes: Sentences for the user.
        definitions: The definition of each metric, by name.
        failures: Where the first approach fails, or None.
        by_class: CSV with the first approach's metrics of each class; "" if no protocol has any.
        trials: The drawn episodes by name, with indices into the dataset.
    """

    results: Mapping[str, Mapping[str, Estimate]]
    headline: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    failures: Failures | None = None
    by_class: str = ""
    trials: Mapping[str, Trials] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'; '.join(self._told())})"

    def _told(self) -> Iterator[str]:
        """The metrics of each approach; all else would take screens."""
        for approach, estimates in self.results.items():
            numbers = (
                f"{name} {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
                for name, found in estimates.items()
            )
            yield f"{approach}: {', '.join(numbers)}"

    def to_json(self) -> dict[str, Any]:
        """The metrics as plain values for JSON."""
        return {
            "results": {
                approach: {name: asdict(estimate) for name, estimate in estimates.items()}
                for approach, estimates in self.results.items()
            },
            "headline": list(self.headline),
            "notes": list(self.notes),
            "definitions": dict(self.definitions),
            **({"failures": self.failures.to_json()} if self.failures else {}),
        }


@dataclass(frozen=True)
class Embedded:
    """The embeddings [M, D] of each approach, and the places [M] of the images in the dataset."""

    rows: Mapping[str, Tensor]
    indices: Tensor


def measure(
    part: Embedded,
    protocols: Mapping[str, EvaluationProtocol],
    dataset: Dataset,
    validation: Embedded | None = None,
    select: str = SELECT,
) -> Measured:
    """Every protocol on the embeddings of each approach.

    A note that all approaches share is about the data and said once; others name theirs. `select`
    is the metric that chose the epoch.
    Raises DivergedError, naming the images, for NaN and infinity.
    """
    results = {
        approach: results_of(approach, part, protocols, dataset, validation)
        for approach in part.rows
    }
    first = next(iter(results.values()))
    estimates = {
        approach: {n: e for result in found for n, e in result.estimates.items()}
        for approach, found in results.items()
    }
    answers = next((result.answers for result in first if result.answers), None)
    return Measured(
        results=estimates,
        headline=headline(first, select),
        notes=(*shared_notes(results), *_outdone(estimates, select)),
        definitions={
            n: d for found in results.values() for r in found for n, d in r.definitions.items()
        },
        failures=Failures.of(answers, dataset, part.indices) if answers else None,
        by_class=as_csv({n: s for r in first for n, s in r.scores.items()}, dataset.classes),
        trials={
            name: replace(
                given, support=part.indices[given.support], queries=part.indices[given.queries]
            )
            for result in first
            for name, given in result.trials.items()
        },
    )


def results_of(
    approach: str,
    part: Embedded,
    protocols: Mapping[str, EvaluationProtocol],
    dataset: Dataset,
    validation: Embedded | None,
) -> list[Result]:
    """What each protocol measures of one approach; as :func:`measure` for what it raises."""
    for embedded in (part, validation):
        if embedded is not None:
            _refuse_not_finite(approach, embedded, dataset)
    labelled = labelled_part(dataset, part.indices)
    others = None
    if validation is not None:
        known = labelled_part(dataset, validation.indices)
        others = Validation(validation.rows[approach], known)
    found: list[Result] = []
    names: set[str] = set()
    for text, protocol in protocols.items():
        result = apply_protocol(protocol, part.rows[approach], labelled, others)
        if again := names & set(result.estimates):
            raise UsageError(
                f"protocol '{text}' measures {', '.join(sorted(again))}, as one before it "
                "does; run them one at a time."
            )
        names |= set(result.estimates)
        found.append(result)
    return found


def shared_notes(results: Mapping[str, Sequence[Result]]) -> tuple[str, ...]:
    """The notes of all approaches, and those of some with their names."""
    said: dict[str, list[str]] = {}
    for approach, found in results.items():
        # Two protocols may say the same.
        for note in dict.fromkeys(note for result in found for note in result.notes):
            said.setdefault(note, []).append(approach)
    return tuple(
        note if len(approaches) == len(results) else f"{', '.join(approaches)}: {note}"
        for note, approaches in said.items()
    )


def headline(results: Sequence[Result], select: str) -> tuple[str, ...]:
    """The metrics to show first: the first of each protocol, and the one that selects epochs."""
    every = [list(result.estimates) for result in results if result.estimates]
    first = {names[0] for names in every}
    return tuple(name for names in every for name in names if name in first or name == select)


def _outdone(results: Mapping[str, Mapping[str, Estimate]], select: str) -> Iterator[str]:
    """A note for each baseline that the trained network does not surpass.

    The metric that chose its epoch decides, and its intervals: a baseline is better where they are
    apart. Where they overlap, the network before training is named if its value is the better one.
    """
    trained = results.get(TRAINED, {})
    name = select if select in trained else next(iter(trained), None)
    if name is None:
        return
    for rival in (*BEFORE_TRAINING, PIXELS):
        theirs = results.get(rival, {}).get(name)
        if theirs is None or min(theirs.n, trained[name].n) < 2:  # of one nobody knows the spread
            continue
        beaten = _apart(name, theirs, trained[name])
        found = f"{name} is {trained[name].value:.3f} after training and {theirs.value:.3f}"
        if rival == PIXELS and beaten:
            yield (
                f"raw pixels beat the trained network: {found} with pixels; try more epochs, or "
                "another sampler or loss."
            )
        elif beaten:
            yield (
                f"training did harm: {found} before it ({rival}); try a lower learning rate, or "
                "another sampler or loss."
            )
        elif rival != PIXELS and _better(name, theirs.value, trained[name].value):
            yield (
                f"training did not help: {found} before it ({rival}), and the intervals overlap; "
                "try more classes, more epochs, or another sampler or loss."
            )


def _apart(name: str, one: Estimate, other: Estimate) -> bool:
    """Whether one estimate is better than another, intervals apart."""
    if name.startswith(ERRORS):
        return one.high < other.low
    return one.low > other.high


def _better(name: str, one: float, other: float) -> bool:
    return one < other if name.startswith(ERRORS) else one > other


def _refuse_not_finite(approach: str, embedded: Embedded, dataset: Dataset) -> None:
    rows = embedded.rows[approach]
    bad = (~rows.isfinite().all(dim=1)).nonzero().flatten().cpu()
    if len(bad):
        places = embedded.indices[bad[:5]].tolist()
        named = ", ".join(f"'{image_name(dataset, place)}'" for place in places)
        more = ", ..." if len(bad) > 5 else ""
        what = f"{len(bad)} of {len(rows)} embeddings ({approach}) are NaN or infinite"
        if len(dataset.images) == 0:
            raise DivergedError(f"{what}, rows {named}{more}: see what went wrong with them.")
        raise DivergedError(
            f"{what}, those of images {named}{more}: the model has diverged; train it with a "
            "smaller learning rate or in float32."
        )
