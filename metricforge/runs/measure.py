"""Held-out numbers of a model beside those of the untrained network and of raw pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Dataset, Estimate, EvaluationProtocol
from metricforge.data.batches import read_ahead
from metricforge.data.images import Images
from metricforge.errors import UsageError
from metricforge.runs.selection import evaluated, labelled_part

# Larger images are averaged down: thousands of raw pixels tell no more and take gigabytes.
PIXEL_SIDE = 32

TRAINED, UNTRAINED, PIXELS = "trained", "untrained", "pixels"


@dataclass(frozen=True)
class Measured:
    """The numbers of each approach on the same images and episodes.

    `results` maps an approach (trained, untrained, pixels) to its named estimates.
    """

    results: Mapping[str, Mapping[str, Estimate]]
    notes: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "results": {
                approach: {name: asdict(estimate) for name, estimate in estimates.items()}
                for approach, estimates in self.results.items()
            },
            "notes": list(self.notes),
            "definitions": dict(self.definitions),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Measured:
        results = {
            approach: {name: Estimate(**fields) for name, fields in estimates.items()}
            for approach, estimates in record["results"].items()
        }
        return cls(results, tuple(record["notes"]), record["definitions"])


def measure(
    embeddings: Mapping[str, Tensor],
    protocols: Mapping[str, EvaluationProtocol],
    dataset: Dataset,
    indices: Tensor,
) -> Measured:
    """Every protocol on the embeddings [M, D] of each approach, for the images at `indices` [M].

    A note that all approaches share is about the data and said once; others name theirs.
    """
    labelled = labelled_part(dataset, indices)
    results: dict[str, dict[str, Estimate]] = {approach: {} for approach in embeddings}
    said: dict[str, list[str]] = {}
    definitions: dict[str, str] = {}
    for approach, rows in embeddings.items():
        for text, protocol in protocols.items():
            result = evaluated(protocol, rows, labelled)
            if again := set(results[approach]) & set(result.estimates):
                raise UsageError(
                    f"protocol '{text}' measures {', '.join(sorted(again))}, as one before it "
                    "does; run them one at a time."
                )
            results[approach].update(result.estimates)
            definitions.update(result.definitions)
            for note in result.notes:
                said.setdefault(note, []).append(approach)
    notes = (
        note if set(approaches) == set(embeddings) else f"{', '.join(approaches)}: {note}"
        for note, approaches in said.items()
    )
    return Measured(results, tuple(notes), definitions)


def pixels(images: Images, indices: Tensor) -> Tensor:
    """The images [M] at `indices` as flat float32 pixels, at most 32 x 32 of each channel."""
    return torch.cat([_flat(batch) for batch in read_ahead(images, indices.split(512))])


def _flat(batch: Tensor) -> Tensor:
    values = batch.cpu().float() / 255
    height, width = (min(side, PIXEL_SIDE) for side in values.shape[2:])
    return F.adaptive_avg_pool2d(values, (height, width)).flatten(1)
