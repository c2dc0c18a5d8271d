"""The kit that plugin authors run on their components: `check_sampler(MyIdea, size=4)`.

A component is passed as a factory, built as the core builds it (ordinary parameters are what it
requires, keyword-only ones its options), or as the spec of an installed one, "my-idea:size=4". A
check of CHECKS that fails raises ContractBroken, an AssertionError that lists all that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from metricforge.registry import Registry
from metricforge.testing.checks import Check
from metricforge.testing.conformance import CHECKS, examine
from metricforge.testing.report import ContractBroken, Finding, Report

__all__ = [
    "CHECKS",
    "Check",
    "ContractBroken",
    "Finding",
    "Report",
    "check",
    "check_adapter",
    "check_augmentation",
    "check_backbone",
    "check_dataset",
    "check_head",
    "check_hook",
    "check_loss",
    "check_miner",
    "check_optimizer",
    "check_protocol",
    "check_sampler",
    "check_schedule",
]


def check(
    kind: str,
    component: Any,
    /,
    registry: Registry | None = None,
    root: str | Path | None = None,
    **options: Any,
) -> Report:
    """The findings of every check of `kind`, without raising when one fails.

    A component that can't be built has one failed finding.

    Args:
        kind: E.g. "sampler".
        component: A factory, or the spec of an installed component.
        registry: Where specs are looked up. Default: what is installed.
        root: Folder of the datasets, for a dataset. Default: $METRICFORGE_DATA or "data".
        options: Options of the component.

    Returns:
        The report of all checks.

    Raises:
        UsageError: The kind is unknown.
    """
    return examine(kind, component, registry, options, root)


def _checker(kind: str) -> Callable[..., Report]:
    def check_of_kind(component: Any, /, **options: Any) -> Report:
        root = options.pop("root", None) if kind == "dataset" else None
        return _passing(examine(kind, component, None, options, root))

    root = '\n    root: Folder of the datasets. Default: $METRICFORGE_DATA or "data".'
    check_of_kind.__name__ = check_of_kind.__qualname__ = f"check_{kind}"
    check_of_kind.__doc__ = f"""Raise ContractBroken unless the {kind} passes every check.

Args:
    component: A factory, or the spec of an installed {kind}.{root if kind == "dataset" else ""}
    options: Options of the {kind}.

Returns:
    The report of all checks, with its notes.

Raises:
    ContractBroken: A check failed.
"""
    return check_of_kind


check_sampler = _checker("sampler")
check_miner = _checker("miner")
check_loss = _checker("loss")
check_head = _checker("head")
check_backbone = _checker("backbone")
check_dataset = _checker("dataset")
check_augmentation = _checker("augmentation")
check_optimizer = _checker("optimizer")
check_schedule = _checker("schedule")
check_hook = _checker("hook")
check_protocol = _checker("protocol")
check_adapter = _checker("adapter")


def _passing(report: Report) -> Report:
    if not report.passed:
        raise ContractBroken(report)
    return report
