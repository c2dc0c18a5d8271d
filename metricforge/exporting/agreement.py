"""Whether an exported file gives the embeddings and the rankings of its model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from metricforge.contracts import Estimate
from metricforge.errors import ArtefactError
from metricforge.exporting.held_out import Part
from metricforge.exporting.precision import Bounds
from metricforge.judging.compare import paired_differences
from metricforge.judging.rankings import main_metrics, ranked
from metricforge.model import EmbeddingModel
from metricforge.pairwise.unit_length import unit_rows
from metricforge.registry import Registry

Runner: TypeAlias = Callable[[Tensor], Tensor]
"""Batches as the file takes them, to embeddings float32 [B, D]."""


@dataclass(frozen=True)
class Agreement:
    """A file beside its model, on the same images.

    Args:
        dataset: Name of the dataset.
        part: Its part, e.g. "test".
        images: The number of images.
        classes: The number of their classes.
        embedding: The largest absolute difference of a component, of embeddings of unit length and
            the same pixels.
        whole: The same if the file resizes whole images, or None.
        model: recall@1 and map@r of the model.
        exported: Those of the file, of whole images if it resizes them.
        differences: The file minus the model, paired.
        bounds: What is allowed.
    """

    dataset: str
    part: str
    images: int
    classes: int
    embedding: float
    whole: float | None
    model: Mapping[str, Estimate]
    exported: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    bounds: Bounds

    @property
    def faults(self) -> tuple[str, ...]:
        """What is not as in the model, in words."""
        return tuple(self._faults())

    def _faults(self) -> Iterator[str]:
        if not self.embedding <= self.bounds.embedding:
            yield f"embeddings differ by {self.embedding:.1e}, allowed {self.bounds.embedding:.0e}"
        most = self.bounds.score
        for name, apart in self.differences.items():
            if apart.low < -most or apart.high > most:
                yield (
                    f"{name} differs by {apart.value:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}], "
                    f"allowed {most:.3f} either way"
                )

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain values for JSON."""
        return asdict(self) | {"agrees": not self.faults, "faults": list(self.faults)}


class DriftError(ArtefactError):
    """An export that is not written, since it does not rank as its model does.

    Args:
        precision: The precision of the file.
        agreement: The comparison.
    """

    def __init__(self, precision: str, agreement: Agreement) -> None:
        super().__init__(
            f"the {precision} export is not the model, and is not written: "
            f"{'; '.join(agreement.faults)}."
        )
        self.agreement = agreement


def compare(
    model: EmbeddingModel,
    runner: Runner,
    part: Part,
    whole: bool,
    bounds: Bounds,
    registry: Registry,
    done: Callable[[int], object] | None = None,
) -> Agreement:
    """Compare a file with its model on some images.

    Args:
        model: The model, on the CPU.
        runner: The file.
        part: The images.
        whole: Whether the file resizes: then the rankings are those of whole images.
        bounds: What is allowed.
        registry: Registry of components, with the protocol `retrieval`.
        done: Called with the number of images of each batch.

    Raises:
        ArtefactError: An embedding of the file is NaN or infinite.
    """
    expected, actual = _embedded(model, runner, part, done)
    embedding = _apart(expected, actual)
    resized = None
    if whole:
        actual = torch.cat([runner(image) for image in part.whole_images(model)])
        resized = _apart(expected, actual)
    first = ranked("model", expected, part.dataset, registry)
    second = ranked("file", actual, part.dataset, registry)
    return Agreement(
        dataset=part.dataset.name,
        part=part.name,
        images=len(expected),
        classes=part.classes,
        embedding=embedding,
        whole=resized,
        model=main_metrics(first.estimates),
        exported=main_metrics(second.estimates),
        differences=main_metrics(paired_differences(first, second)),
        bounds=bounds,
    )


def _embedded(
    model: EmbeddingModel, runner: Runner, part: Part, done: Callable[[int], object] | None
) -> tuple[Tensor, Tensor]:
    expected, actual = [], []
    for batch in part.pixels(model):
        expected.append(model.embed([batch]))
        actual.append(runner(batch))
        if done:
            done(len(batch))
    return torch.cat(expected), torch.cat(actual)


def _apart(expected: Tensor, actual: Tensor) -> float:
    """The largest difference of a component, of rows of unit length."""
    if not actual.isfinite().all():
        raise ArtefactError(
            "embeddings of the export are NaN or infinite, and it is not written: take --fp16 or "
            "--int8 out, or train the model with weight decay."
        )
    return float((unit_rows(expected) - unit_rows(actual)).abs().max())
