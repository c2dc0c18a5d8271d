"""Choosing the best epoch, on classes that are neither trained on nor tested."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metricforge.contracts import Dataset, EvaluationProtocol, Labelled, Result, Validation
from metricforge.data.images import Images
from metricforge.data.split import Split
from metricforge.errors import unknown
from metricforge.model import EmbeddingModel
from metricforge.runtime import Runtime
from metricforge.training.conduct import blaming, check_result
from metricforge.training.loop import embed_images
from metricforge.training.task import Validated

MOST_IMAGES = 3_000


@dataclass(frozen=True)
class Selection:
    """Measures a model on validation images; the number to select by comes first."""

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

        `views` are the orientations of each training class, of which images as they are have the
        first.

        Where the part is empty, or of one class, it has no numbers: the last epoch is the best.
        """
        indices, notes = split.validation, []
        if len(dataset.labels[indices].unique()) == 1:
            # Whatever is nearest to an image is of its class: each epoch would score 1.
            notes.append(
                "one validation class can't rank epochs, so the last is kept; give validation more "
                "classes."
            )
            indices = indices[:0]
        elif not len(indices):
            notes.append("no class validates: the last epoch is kept.")
        if len(indices) > MOST_IMAGES:
            by_class = indices[torch.argsort(dataset.labels[indices], stable=True)]
            places = torch.linspace(0, len(indices) - 1, MOST_IMAGES).long()
            indices = by_class[places]
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
        """The protocol's numbers by name, the one to select by first, and the embeddings."""
        if not len(self.indices):
            return Validated({})
        embeddings = embed_images(model, self.images, self.indices, self.runtime)
        ranks = self.runtime.ranks
        # One judges for all: two ranks that differ in a last bit could choose two epochs.
        told = ranks.told(json.dumps(self._scores(embeddings)) if ranks.first else "")
        scores: dict[str, float] = json.loads(told)
        return Validated(scores, embeddings, self.classes, self.known)

    def _scores(self, embeddings: Tensor) -> dict[str, float]:
        estimates = evaluated(self.protocol, embeddings, self.labelled).estimates
        if self.key not in estimates:
            raise unknown("number to select by", self.key, estimates)
        order = [self.key, *(name for name in estimates if name != self.key)]
        return {name: estimates[name].value for name in order}


def evaluated(
    protocol: EvaluationProtocol,
    embeddings: Tensor,
    images: Labelled,
    validation: Validation | None = None,
) -> Result:
    """What a protocol measures, checked; what goes wrong in there is blamed on it."""
    with blaming(protocol):
        if wants_validation(protocol):
            result = protocol.evaluate(embeddings, images, validation=validation)  # type: ignore[call-arg]
        else:
            result = protocol.evaluate(embeddings, images)
    check_result(protocol, result)
    return result


def wants_validation(protocol: EvaluationProtocol) -> bool:
    """Whether its `evaluate` takes the validation part as well."""
    return "validation" in inspect.signature(protocol.evaluate).parameters


def labelled_part(dataset: Dataset, indices: Tensor) -> Labelled:
    """What a protocol may know of the images at these indices."""
    groups = None if dataset.groups is None else dataset.groups[indices]
    rows = torch.full((len(dataset),), -1)
    rows[indices] = torch.arange(len(indices))
    trials = {
        name: replace(given, support=rows[given.support], queries=rows[given.queries])
        for name, given in dataset.trials.items()
    }
    whole = {
        name: given
        for name, given in trials.items()
        if bool((given.support >= 0).all() and (given.queries >= 0).all())
    }
    queries, gallery = _flags(dataset, indices)
    return Labelled(
        dataset.labels[indices], dataset.classes, groups, whole, indices, queries, gallery
    )


def _flags(dataset: Dataset, indices: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Which of these images are queries and which the gallery; none where nothing is flagged."""
    if dataset.queries is None or dataset.gallery is None:
        return None, None
    queries, gallery = dataset.queries[indices], dataset.gallery[indices]
    return (queries, gallery) if queries.any() or gallery.any() else (None, None)
