"""Whether samplers can work with a train set: each is built and draws its first batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from metricforge.contracts import Dataset, Sampler
from metricforge.data.split import Split
from metricforge.enforcement import as_batch, asks, sentences
from metricforge.errors import MetricForgeError, UsageError
from metricforge.plugin_errors import blaming
from metricforge.recipes.components import component
from metricforge.recipes.defaults import suited
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import train_set
from metricforge.spec import Spec

BATCHES = 3


@dataclass(frozen=True)
class Verdict:
    """The outcome of a sampler on a train set.

    `outcome` is "ok", "refused", or "incomplete" for a sampler that has required options; `why` is
    then its error. `notes` are its notes, e.g. on images that it skips. `decides`: training would
    use it.
    """

    spec: str
    outcome: Literal["ok", "refused", "incomplete"]
    why: str = ""
    notes: tuple[str, ...] = ()
    decides: bool = False


def try_samplers(
    dataset: Dataset, split: Split, registry: Registry, requested: Sequence[str] = ()
) -> Iterator[Verdict]:
    """Try the requested samplers, or else the default one and then all other installed ones.

    Raises UsageError for a requested sampler whose spec is wrong.
    """
    if requested:
        for text in requested:
            yield _tried(Spec.parse(text), dataset, split, registry, decides=True)
        return
    usual = registry.find("sampler", _usual())
    for entry in (usual, *(e for e in registry.entries("sampler") if e != usual)):
        if not entry.family:
            shadowed = registry.status(entry).word == "shadowed"
            spec = Spec(entry.name, distribution=entry.distribution if shadowed else None)
            yield _tried(spec, dataset, split, registry, decides=entry == usual)


def _usual() -> Spec:
    spec = Recipe().sampler
    assert isinstance(spec, Spec)
    return spec


def _tried(
    spec: Spec, dataset: Dataset, split: Split, registry: Registry, decides: bool
) -> Verdict:
    text = str(spec)
    try:
        views = suited(Recipe(sampler=spec), dataset, split).orientations or 1
        _, labels, groups = train_set(dataset, split, views)
        sampler = component(registry, "sampler", spec, {"labels": labels, "groups": groups})
        _draw(sampler)
        return Verdict(text, "ok", notes=sentences(sampler), decides=decides)
    except UsageError as error:
        if decides:
            raise
        return Verdict(text, "incomplete", str(error))
    except MetricForgeError as error:
        return Verdict(text, "refused", str(error), decides=decides)


def _draw(sampler: Sampler) -> None:
    rng = np.random.default_rng(0)
    with blaming(sampler):
        options: Any = {"number": 0} if asks(sampler.epoch, "number") else {}
        for batch in islice(sampler.epoch(rng, **options), BATCHES):
            as_batch(sampler, batch)
