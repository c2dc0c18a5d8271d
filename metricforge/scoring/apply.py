"""One protocol on some embeddings, and the labels that it gets."""

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
    """The checked result of a protocol; an error in it names the protocol.

    Raises DivergedError for NaN and infinity, before the protocol runs.
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
    """The protocol on random rows, so that it refuses unfit labels before training."""
    rows = torch.rand(len(images.labels), 2, generator=torch.Generator().manual_seed(0))
    return apply_protocol(protocol, rows, images)


def wants_validation(protocol: EvaluationProtocol) -> bool:
    """Whether its `evaluate` takes the validation part as well."""
    return "validation" in inspect.signature(protocol.evaluate).parameters


def labelled_part(dataset: Dataset, indices: Tensor) -> Labelled:
    """What a protocol knows of the images at these indices."""
    groups = None if dataset.groups is None else dataset.groups[indices]
    rows = torch.full((len(dataset),), -1)
    rows[indices] = torch.arange(len(indices))
    trials = {
        name: replace(episodes, support=rows[episodes.support], queries=rows[episodes.queries])
        for name, episodes in dataset.trials.items()
    }
    whole = {
        name: episodes
        for name, episodes in trials.items()
        if bool((episodes.support >= 0).all() and (episodes.queries >= 0).all())
    }
    pairs = None if dataset.pairs is None else rows[dataset.pairs]
    queries, gallery = _flags(dataset, indices)
    return Labelled(
        labels=dataset.labels[indices],
        classes=dataset.classes,
        groups=groups,
        trials=whole,
        places=indices,
        queries=queries,
        gallery=gallery,
        pairs=None if pairs is None else pairs[(pairs >= 0).all(dim=1)],
    )


def _flags(dataset: Dataset, indices: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Flags of the queries and of the gallery among these images; None if nothing is flagged."""
    if dataset.queries is None or dataset.gallery is None:
        return None, None
    queries, gallery = dataset.queries[indices], dataset.gallery[indices]
    return (queries, gallery) if queries.any() or gallery.any() else (None, None)
