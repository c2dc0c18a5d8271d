"""Held-out metrics of a model and of its baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from metricforge.contracts import (
    Answers,
    Dataset,
    Estimate,
    EvaluationProtocol,
    Result,
    Trials,
    Validation,
)
from metricforge.errors import DivergedError, UsageError, few
from metricforge.scoring.apply import apply_protocol, labelled_part
from metricforge.scoring.baselines import BEFORE_TRAINING, PIXELS, RAW, TRAINED
from metricforge.scoring.by_class import as_csv
from metricforge.scoring.failures import Failures, image_name

SELECT = "map@r"
"""The metric on validation classes that chooses the epoch, by default."""

ERRORS = ("error", "eer", "ece", "far@", "fpir@", "frr@")
"""The prefixes of metrics for which lower is better."""


def lower_is_better(number: str) -> bool:
    """Whether a metric is an error; in a suite the name of another dataset may come before it."""
    return number.rpartition(" ")[2].startswith(ERRORS)


def lowest(number: str) -> float:
    """The lowest value that a metric can have."""
    return -1.0 if number.rpartition(" ")[2] == "ami" else 0.0


def goodness(number: str, value: float) -> float:
    """The metric, with its sign changed if lower is better."""
    return -value if lower_is_better(number) else value


@dataclass(frozen=True, repr=False)
class Measured:
    """The metrics of each approach on the same images and episodes.

    Args:
        results: Metrics by approach (trained, a baseline), then by name.
        headline: Names of the main metrics.
        notes: Sentences for the user.
        definitions: The definition of each metric, by name.
        answers: The first approach's answer to each query, or None.
        failures: Where the first approach fails, or None.
        by_class: CSV with the first approach's metrics of each class; "" if no protocol has any.
        trials: The drawn episodes by name, with indices into the dataset.
    """

    results: Mapping[str, Mapping[str, Estimate]]
    headline: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    answers: Answers | None = None
    failures: Failures | None = None
    by_class: str = ""
    trials: Mapping[str, Trials] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'; '.join(self._summary())})"

    def _summary(self) -> Iterator[str]:
        """The metrics of each approach, without the fields that would fill screens."""
        for approach, estimates in self.results.items():
            numbers = (
                f"{name} {estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
                for name, estimate in estimates.items()
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
    """The embeddings [M, D] of each approach, and the indices [M] of the images in the dataset."""

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

    A note that all approaches share is about the data and appears once; others name their
    approaches. `select` is the metric that chose the epoch.

    Raises DivergedError, naming the images, for NaN and infinity.
    """
    results = {
        approach: results_of(approach, part, protocols, dataset, validation)
        for approach in part.rows
    }
    first = next(iter(results.values()))
    estimates = {
        approach: {n: e for result in measured for n, e in result.estimates.items()}
        for approach, measured in results.items()
    }
    answers = next((result.answers for result in first if result.answers), None)
    return Measured(
        results=estimates,
        headline=headline(first, select),
        notes=(*shared_notes(results), *outdone(estimates, select)),
        definitions={
            n: d
            for measured in results.values()
            for r in measured
            for n, d in r.definitions.items()
        },
        answers=answers,
        failures=Failures.of(answers, dataset, part.indices) if answers else None,
        by_class=as_csv({n: s for r in first for n, s in r.scores.items()}, dataset.classes),
        trials={
            name: replace(
                episodes,
                support=part.indices[episodes.support],
                queries=part.indices[episodes.queries],
            )
            for result in first
            for name, episodes in result.trials.items()
        },
    )


def results_of(
    approach: str,
    part: Embedded,
    protocols: Mapping[str, EvaluationProtocol],
    dataset: Dataset,
    validation: Embedded | None,
) -> list[Result]:
    """The result of each protocol on one approach; raises the errors of :func:`measure`."""
    for embedded in (part, validation):
        if embedded is not None:
            _refuse_not_finite(approach, embedded, dataset)
    labelled = labelled_part(dataset, part.indices)
    validated = None
    if validation is not None:
        known = labelled_part(dataset, validation.indices)
        validated = Validation(validation.rows[approach], known)
    measured: list[Result] = []
    names: set[str] = set()
    for text, protocol in protocols.items():
        result = apply_protocol(protocol, part.rows[approach], labelled, validated)
        if repeated := names & set(result.estimates):
            raise UsageError(
                f"protocol '{text}' measures {', '.join(sorted(repeated))}, as one before it "
                "does; run them one at a time."
            )
        names |= set(result.estimates)
        measured.append(result)
    return measured


def shared_notes(results: Mapping[str, Sequence[Result]]) -> tuple[str, ...]:
    """The notes of all approaches, and those of some with their names."""
    approaches_of: dict[str, list[str]] = {}
    for approach, measured in results.items():
        # Two protocols may have the same note.
        for note in dict.fromkeys(note for result in measured for note in result.notes):
            approaches_of.setdefault(note, []).append(approach)
    return tuple(
        note if len(approaches) == len(results) else f"{', '.join(approaches)}: {note}"
        for note, approaches in approaches_of.items()
    )


def headline(results: Sequence[Result], select: str) -> tuple[str, ...]:
    """The metrics to show first: the first of each protocol, and the one that selects epochs."""
    every = [list(result.estimates) for result in results if result.estimates]
    first = {names[0] for names in every}
    return tuple(name for names in every for name in names if name in first or name == select)


def outdone(results: Mapping[str, Mapping[str, Estimate]], select: str) -> Iterator[str]:
    """A note for each baseline that the trained network does not surpass.

    Decided by the metric that chose its epoch: a baseline is better if the intervals are disjoint.
    If they overlap, there is a note on the network before training if its value is better.
    """
    trained = results.get(TRAINED, {})
    name = select if select in trained else next(iter(trained), None)
    if name is None:
        return
    for rival in (*BEFORE_TRAINING, *RAW):
        theirs = results.get(rival, {}).get(name)
        if theirs is None or min(theirs.n, trained[name].n) < 2:  # a single value has no interval
            continue
        beaten = _apart(name, theirs, trained[name])
        change = f"{name} is {trained[name].value:.3f} after training and {theirs.value:.3f}"
        if rival in RAW and beaten:
            yield (
                f"raw {rival} beat the trained network: {change} with {rival}; try more epochs, or "
                "another sampler or loss."
            )
        elif beaten:
            yield (
                f"training did harm: {change} before it ({rival}); try a lower learning rate, or "
                "another sampler or loss."
            )
        elif rival != PIXELS and _better(name, theirs.value, trained[name].value):
            yield (
                f"training did not help: {change} before it ({rival}), and the intervals overlap; "
                "try more classes, more epochs, or another sampler or loss."
            )


def _apart(name: str, first: Estimate, second: Estimate) -> bool:
    """Whether one estimate is better than another, intervals apart."""
    if lower_is_better(name):
        return first.high < second.low
    return first.low > second.high


def _better(name: str, first: float, second: float) -> bool:
    return first < second if lower_is_better(name) else first > second


def _refuse_not_finite(approach: str, embedded: Embedded, dataset: Dataset) -> None:
    rows = embedded.rows[approach]
    bad = (~rows.isfinite().all(dim=1)).nonzero().flatten().cpu()
    if len(bad):
        indices = embedded.indices[bad[:6]].tolist()
        listed = few([f"'{image_name(dataset, index)}'" for index in indices])
        what = f"{len(bad)} of {len(rows)} embeddings ({approach}) are NaN or infinite"
        if len(dataset.images) == 0:
            raise DivergedError(f"{what}, rows {listed}: see what went wrong with them.")
        raise DivergedError(
            f"{what}, those of images {listed}: the model has diverged; train it with a "
            "smaller learning rate or in float32."
        )
