"""The kit that plugin authors run on their components: `check_sampler(MyIdea, size=4)`.

A component is passed as a factory, built as the core builds it (ordinary parameters are what it
requires, keyword-only ones its options), or as the spec of an installed one, "my-idea:size=4". A
check of CHECKS that fails raises ContractBroken, an AssertionError that lists all that failed.
"""

from __future__ import annotations

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
    "check_augmentation",
    "check_backbone",
    "check_dataset",
    "check_head",
    "check_hook",
    "check_loss",
    "check_miner",
    "check_protocol",
    "check_sampler",
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


def check_sampler(component: Any, /, **options: Any) -> Report:
    """Raise ContractBroken unless a sampler passes every check.

    Args:
        component: A factory, or the spec of an installed sampler.
        options: Options of the sampler.

    Returns:
        The report of all checks, with its notes.

    Raises:
        ContractBroken: A check failed.
    """
    return _passing(examine("sampler", component, None, options))


def check_miner(component: Any, /, **options: Any) -> Report:
    """Raise ContractBroken unless a miner passes every check.

    Args:
        component: A factory, or the spec of an installed miner.
        options: Options of the miner.

    Returns:
        The report of all checks, with its notes.

    Raises:
        ContractBroken: A check failed.
    """
    return _passing(examine("miner", component, None, options))


def check_loss(component: Any, /, **options: Any) -> Report:
    """Raise ContractBroken unless a loss passes every check.

    Args:
        component: A factory, or the spec of an installed loss.
        options: Options of the loss.

    Returns:
        The report of all checks, with its notes.

    Raises:
        ContractBroken: A check failed.
    """
    return _passing(examine("loss", component, None, options))


def check_head(component: Any, /, **options: Any) -> Report:
    """Raise ContractBroken unless a head passes every check.

    Args:
        component: A factory, or the spec of an installed head.
        options: Options of the head.

    Returns:
        The report of all checks, with its notes.

    Raises:
        ContractBroken: A check failed.
    """
    return _passing(examine("head", component, None, options))


def check_backbone(component: Any, /, **options: Any) -> Report:
    """Raise ContractBroken unless a backbone passes every check.

    Args:
        component: A factory, or the spec of an installed backbone.
        options: Options of the backbone.

    Returns:
        The report of all checks, with its notes.

    Raises:
        ContractBroken: A check failed.
    """
    return _passing(examine("backbone", component, None, options))


def check_dataset(component: Any, /, root: str | Path | None = None, **options: Any) -> Report:
    """Raise ContractBroken unless a dataset passes every check.

    Args:
        component: A factory, or the spec of an installed dataset.
        root: Folder of the datasets. Default: $METRICFORGE_DATA or "data".
        options: Options of the dataset.

    Returns:
        The report of all checks, with its notes.

    Raises:
        ContractBroken: A check failed.
    """
    return _passing(examine("dataset", component, None, options, root))


def check_augmentation(component: Any, /, **options: Any) -> Report:
    """Raise ContractBroken unless an augmentation passes every check.

    Args:
        component: A factory, or the spec of an installed augmentation.
        options: Options of the augmentation.

    Returns:
        The report of all checks, with its notes.

    Raises:
        ContractBroken: A check failed.
    """
    return _passing(examine("augmentation", component, None, options))


def check_hook(component: Any, /, **options: Any) -> Report:
    """Raise ContractBroken unless a hook passes every check.

    Args:
        component: A factory, or the spec of an installed hook.
        options: Options of the hook.

    Returns:
        The report of all checks, with its notes.

    Raises:
        ContractBroken: A check failed.
    """
    return _passing(examine("hook", component, None, options))


def check_protocol(component: Any, /, **options: Any) -> Report:
    """Raise ContractBroken unless a protocol passes every check.

    Args:
        component: A factory, or the spec of an installed protocol.
        options: Options of the protocol.

    Returns:
        The report of all checks, with its notes.

    Raises:
        ContractBroken: A check failed.
    """
    return _passing(examine("protocol", component, None, options))


def _passing(report: Report) -> Report:
    if not report.passed:
        raise ContractBroken(report)
    return report
