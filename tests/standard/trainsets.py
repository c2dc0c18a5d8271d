"""Train sets for samplers, odd ones above all, and what the tests of samplers do with them."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from metricforge.registry import Registry
from metricforge.spec import Spec, options_of

REGISTRY = Registry.installed()
SAMPLERS = tuple(e.name for e in REGISTRY.entries("sampler") if e.distribution == "metricforge")

quick = settings(deadline=None, max_examples=60)
# Singletons, classes below and above the usual K, and now and then a huge one.
sizes = st.lists(
    st.one_of(st.just(1), st.integers(2, 9), st.just(150)), min_size=2, max_size=12
).filter(lambda found: max(found) > 1)
seeds = st.integers(0, 2**32)


def labels_of(sizes: Sequence[int], seed: int = 0) -> Tensor:
    """Labels with this many images a class, in random order, with gaps between the numbers."""
    labels = np.repeat(3 * np.arange(len(sizes)) + 1, sizes)
    return torch.from_numpy(np.random.default_rng(seed).permutation(labels))


def build(text: str, labels: Tensor, groups: Tensor | None = None) -> Any:
    """The sampler of a spec; without groups of its own, four classes are a group."""
    offers = {"labels": labels, "groups": labels // 12 if groups is None else groups}
    return REGISTRY.build("sampler", Spec.parse(text), offers)


def epoch(sampler: Any, seed: int = 0, number: int = 1) -> list[Tensor]:
    """The batches of an epoch, the second for a sampler that asks."""
    asked = {"number": number} if "number" in signature(sampler.epoch).parameters else {}
    return list(sampler.epoch(np.random.default_rng(seed), **asked))


def usual(name: str) -> str:
    """The spec of a sampler, with no more options than it must have."""
    return "schedule:0=random-triplets,1=hard-triplet,blend=1" if name == "schedule" else name


def smallest(name: str, classes: int) -> str:
    """The spec of a sampler with the smallest batches, so that an epoch has many of them."""
    if name == "schedule":
        stages = {"0": "random-triplets", "1": "hard-triplet"}
        small = {key: smallest(stage, classes) for key, stage in stages.items()}
        return str(Spec(name, {"blend": "1", **small}))
    choices = {"classes": min(classes, 3), "per_class": 3, "pairs": 4, "triplets": 4}
    choices |= {"way": min(classes, 3), "queries": 2}
    options = options_of(REGISTRY.factory("sampler", Spec(name)))
    return f"{name}:" + ",".join(f"{k}={v}" for k, v in choices.items() if k in options)
