"""Held-out numbers of a model beside those of the untrained network and of raw pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import (
    Dataset,
    Estimate,
    EvaluationProtocol,
    Result,
    Trials,
    Validation,
)
from metricforge.data.batches import read_ahead
from metricforge.data.images import Images
from metricforge.errors import DivergedError, UsageError
from metricforge.runs.by_class import as_csv
from metricforge.runs.failures import Failures, image_name
from metricforge.runs.selection import evaluated, labelled_part

# Larger images are averaged down: thousands of raw pixels tell no more and take gigabytes.
PIXEL_SIDE = 32

TRAINED, UNTRAINED, PIXELS = "trained", "untrained", "pixels"

ERRORS = ("error", "eer", "far@", "frr@")
"""How numbers begin of which the smaller is the better one."""


def goodness(number: str, value: float) -> float:
    """A number by which more is better."""
    return -value if number.startswith(ERRORS) else value


@dataclass(frozen=True, repr=False)
class Measured:
    """The numbers of each approach on the same images and episodes.

    `results` maps an approach (trained, untrained, pixels) to its named estimates. Of the first
    approach, `failures` are where it fails, and `by_class` is a CSV with the numbers of each
    class, if a protocol tells. `trials` are the episodes that were drawn, of places in the dataset.
    """

    results: Mapping[str, Mapping[str, Estimate]]
    notes: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    failures: Failures | None = None
    by_class: str = ""
    trials: Mapping[str, Trials] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'; '.join(self._told())})"

    def _told(self) -> Iterator[str]:
        """The numbers of each approach: what else there is takes screens."""
        for approach, estimates in self.results.items():
            numbers = (
                f"{name} {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
                for name, found in estimates.items()
            )
            yield f"{approach}: {', '.join(numbers)}"

    def to_json(self) -> dict[str, Any]:
        return {
            "results": {
                approach: {name: asdict(estimate) for name, estimate in estimates.items()}
                for approach, estimates in self.results.items()
            },
            "notes": list(self.notes),
            "definitions": dict(self.definitions),
            **({"failures": self.failures.to_json()} if self.failures else {}),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Measured:
        results = {
            approach: {name: Estimate(**fields) for name, fields in estimates.items()}
            for approach, estimates in record["results"].items()
        }
        return cls(results, tuple(record["notes"]), record["definitions"])


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
) -> Measured:
    """Every protocol on the embeddings of each approach.

    A note that all approaches share is about the data and said once; others name theirs.
    Raises DivergedError, naming the images, for NaN and infinity.
    """
    results = {
        approach: results_of(approach, part, protocols, dataset, validation)
        for approach in part.rows
    }
    first = next(iter(results.values()))
    answers = next((result.answers for result in first if result.answers), None)
    return Measured(
        results={
            approach: {n: e for result in found for n, e in result.estimates.items()}
            for approach, found in results.items()
        },
        notes=(*shared_notes(results), *_no_better(results)),
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
        result = evaluated(protocol, part.rows[approach], labelled, others)
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


def _no_better(results: Mapping[str, Sequence[Result]]) -> Iterator[str]:
    """Says of the trained network that the untrained one, or pixels, do better for sure."""
    first = {name: found[0] for name, found in results.items() if found}
    trained = first.get(TRAINED)
    number = next(iter(trained.estimates), None) if trained else None
    if trained is None or number is None or number.startswith(ERRORS):
        return
    better = [
        name
        for name in (UNTRAINED, PIXELS)
        if name in first and trained.estimates[number].high < first[name].estimates[number].low
    ]
    if better:
        yield (
            f"training did harm: {number} is better with {' and with '.join(better)}; try more "
            "epochs, a lower learning rate, or another sampler or loss."
        )


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


def pixels(images: Images, indices: Tensor) -> Tensor:
    """The images [M] at `indices` as flat float32 pixels, at most 32 x 32 of each channel."""
    return torch.cat([_flat(batch) for batch in read_ahead(images, indices.split(512))])


def _flat(batch: Tensor) -> Tensor:
    values = batch.cpu().float() / 255
    height, width = (min(side, PIXEL_SIDE) for side in values.shape[2:])
    return F.adaptive_avg_pool2d(values, (height, width)).flatten(1)
