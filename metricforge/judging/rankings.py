"""How embeddings rank the images of a part: recall@1 and map@r, to be compared in pairs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metricforge.contracts import Dataset, Estimate, Result
from metricforge.recipes.components import make_protocol
from metricforge.registry import Registry
from metricforge.scoring.measure import Embedded, results_of
from metricforge.spec import Spec

METRICS = ("recall@1", "map@r")


def ranked(
    name: str, rows: Tensor, dataset: Dataset, registry: Registry, indices: Tensor | None = None
) -> Result:
    """The result of the protocol `retrieval`.

    Args:
        name: Whose embeddings they are, for errors.
        rows: [M, D].
        dataset: The dataset.
        registry: Registry of components, with the protocol.
        indices: int64 [M], the images. Default: all.

    Raises:
        DivergedError: An embedding is NaN or infinite.
    """
    protocols = {"retrieval": make_protocol(registry, Spec.parse("retrieval"))}
    which = torch.arange(len(rows)) if indices is None else indices
    (result,) = results_of(name, Embedded({name: rows}, which), protocols, dataset, None)
    return result


def main_metrics(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Those of METRICS."""
    return {name: estimates[name] for name in METRICS}
