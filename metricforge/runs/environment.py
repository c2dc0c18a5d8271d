"""The machine and the versions that made a run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypedDict

import torch

from metricforge.runtime import Runtime, device_name

RECORDED_VERSIONS = (
    "metricforge",
    "torch",
    "torchvision",
    "pytorch-metric-learning",
    "faiss-cpu",
    "numpy",
    "scikit-learn",
)


class Environment(TypedDict, total=False):
    """The keys of env.json that are read."""

    device: str
    device_name: str
    threads: int
    versions: dict[str, str]
    components: dict[str, str]
    weights: dict[str, str]
    extended_after: list[int]
    """The epochs after which the run was finished, and then trained longer."""


def environment(
    runtime: Runtime, components: Mapping[str, str], weights: Mapping[str, str]
) -> dict[str, Any]:
    """Versions, platform, device and ranks, for env.json.

    Also whose the components are, and the sha256 of the weights that a part starts from.
    """
    device = runtime.device
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": device_name(device),
        "ranks": runtime.ranks.count,
        "threads": torch.get_num_threads(),
        "versions": {name: version_of(name) for name in RECORDED_VERSIONS},
        "components": dict(components),
        "weights": dict(weights),
    }


def version_of(distribution: str) -> str:
    """The version of an installed distribution, or that it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
