"""One protocol on some embeddings, and what it may know of their images."""

from __future__ import annotations

import inspect
from dataclasses import replace

import torch
from torch import Tensor

from metricforge.contracts import Dataset, EvaluationProtocol, Labelled, Result, Validation
from metricforge.enforcement import check_result
from metricforge.errors import DivergedError
from metricforge.plugin_errors import blaming


def apply_protocol(
    protocol: EvaluationProtocol,
    embeddings: Tensor,
    images: Labelled,
    validation: Validation | None = None,
) -> Result:
    """What a protocol measures, checked; what goes wrong in there is blamed on it.

    Raises DivergedError for NaN and infinity, which no protocol sees.
    """
    if not bool(embeddings.isfinite().all()):
        raise DivergedError("some embeddings are NaN or infinite: the model has diverged.")
    with blaming(protocol):
        if wants_validation(protocol):
            result = protocol.evaluate(embeddings, images, validation=validation)  # type: ignore[call-arg]
        else:
            result = protocol.evaluate(embeddings, images)
    check_result(protocol, result)
    return result


def rehearse(protocol: EvaluationProtocol, images: Labelled) -> Result:
    """The protocol on random rows: what it can't measure of these labels is refused at once."""
    rows = torch.rand(len(images.labels), 2, generator=torch.Generator().manual_seed(0))
    return apply_protocol(protocol, rows, images)


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
