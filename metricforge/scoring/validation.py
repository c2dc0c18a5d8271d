"""Choosing the best epoch, on classes that are neither trained on nor tested."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from torch import Tensor

from metricforge.contracts import Dataset, EvaluationProtocol, Labelled, Result
from metricforge.data.images import Images
from metricforge.data.split import Split
from metricforge.errors import unknown
from metricforge.model import EmbeddingModel
from metricforge.runtime import Runtime
from metricforge.scoring.apply import apply_protocol, labelled_part, rehearse
from metricforge.training.loop import embed_images
from metricforge.training.setup import Validated

MOST_IMAGES = 3_000
FEW_TO_CHOOSE_BY = 5
"""With fewer validation classes, none of which trains, a note warns that they choose badly."""


@dataclass(frozen=True)
class Selection:
    """Measures a model on validation images; the metric to select by comes first."""

    protocol: EvaluationProtocol
    key: str
    images: Images
    indices: Tensor
    labelled: Labelled
    classes: Tensor
    known: bool
    runtime: Runtime
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        protocol: EvaluationProtocol,
        key: str,
        dataset: Dataset,
        split: Split,
        images: Images,
        runtime: Runtime,
        views: int = 1,
    ) -> Selection:
        """A selection over the validation part, thinned evenly within its classes if large.

        `views` is the number of orientations of each training class; an unturned image has the
        first.

        If the part is empty, or of one class, it has no metrics: the last epoch is the best.
        """
        indices, notes = split.validation, []
        count = len(dataset.labels[indices].unique())
        if count == 0:
            notes.append("no class validates: the last epoch is kept.")
        elif count == 1:
            # Every neighbor would be of the query's class, and each epoch would score 1.
            notes.append(
                "one validation class can't rank epochs, so the last is kept; give validation more "
                "classes."
            )
            indices = indices[:0]
        elif count < FEW_TO_CHOOSE_BY and not split.closed_set:
            notes.append(
                f"the epoch is chosen by {count} validation classes, which say little of others; "
                "more classes choose better."
            )
        if len(indices) > MOST_IMAGES:
            by_class = indices[torch.argsort(dataset.labels[indices], stable=True)]
            positions = torch.linspace(0, len(indices) - 1, MOST_IMAGES).long()
            indices = by_class[positions]
            notes.append(f"epochs are chosen by {MOST_IMAGES} of the validation images.")
        labels = dataset.labels[indices]
        trained = dataset.labels[split.train].unique()
        known = bool(torch.isin(labels, trained).all())
        numbers = torch.searchsorted(trained, labels) * views
        classes = numbers if known else labels.unique(return_inverse=True)[1]
        return cls(
            protocol,
            key,
            images,
            indices,
            labelled_part(dataset, indices),
            classes,
            known,
            runtime,
            tuple(notes),
        )

    def __call__(self, model: EmbeddingModel) -> Validated:
        """The protocol's metrics by name, the one to select by first, and the embeddings."""
        if not len(self.indices):
            return Validated({})
        embeddings = embed_images(model, self.images, self.indices, self.runtime)
        ranks = self.runtime.ranks
        # The first rank decides: ranks that differ in a last bit could choose different epochs.
        scores_json = ranks.broadcast(json.dumps(self._scores(embeddings)) if ranks.first else "")
        scores: dict[str, float] = json.loads(scores_json)
        return Validated(scores, embeddings, self.classes, self.known)

    def rehearse(self) -> None:
        """Fail early if the protocol can't choose epochs: it measures random rows with the labels.

        Raises UsageError if it has no metric of that name, and the errors of the protocol.
        """
        if len(self.indices):
            self._checked(rehearse(self.protocol, self.labelled))

    def _scores(self, embeddings: Tensor) -> dict[str, float]:
        return self._checked(apply_protocol(self.protocol, embeddings, self.labelled))

    def _checked(self, result: Result) -> dict[str, float]:
        estimates = result.estimates
        if self.key not in estimates:
            raise unknown("number to select by", self.key, estimates)
        order = [self.key, *(name for name in estimates if name != self.key)]
        return {name: estimates[name].value for name in order}
