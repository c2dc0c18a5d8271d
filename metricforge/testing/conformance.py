"""Running every check of a kind on one component."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from metricforge.contracts import KINDS
from metricforge.errors import MetricForgeError, unknown
from metricforge.registry import Registry
from metricforge.testing.adapter_checks import ADAPTER_CHECKS
from metricforge.testing.augmentation_checks import AUGMENTATION_CHECKS
from metricforge.testing.checks import Broken, Check, Skipped, raised, refusal
from metricforge.testing.dataset.checks import DATASET_CHECKS
from metricforge.testing.hook_checks import HOOK_CHECKS
from metricforge.testing.loss.checks import LOSS_CHECKS
from metricforge.testing.miner.checks import MINER_CHECKS
from metricforge.testing.network.backbone_checks import BACKBONE_CHECKS
from metricforge.testing.network.head_checks import HEAD_CHECKS
from metricforge.testing.optimizer_checks import OPTIMIZER_CHECKS
from metricforge.testing.protocol.checks import PROTOCOL_CHECKS
from metricforge.testing.randomness import preserved
from metricforge.testing.report import Finding, Report
from metricforge.testing.sampler.checks import SAMPLER_CHECKS
from metricforge.testing.schedule_checks import SCHEDULE_CHECKS
from metricforge.testing.subject import Subject, find

CHECKS: Mapping[str, tuple[Check, ...]] = {
    "sampler": SAMPLER_CHECKS,
    "miner": MINER_CHECKS,
    "loss": LOSS_CHECKS,
    "head": HEAD_CHECKS,
    "backbone": BACKBONE_CHECKS,
    "adapter": ADAPTER_CHECKS,
    "dataset": DATASET_CHECKS,
    "augmentation": AUGMENTATION_CHECKS,
    "optimizer": OPTIMIZER_CHECKS,
    "schedule": SCHEDULE_CHECKS,
    "protocol": PROTOCOL_CHECKS,
    "hook": HOOK_CHECKS,
}
"""The checks of each kind, in the order they run; the first checks whether it can be built."""


def examine(
    kind: str,
    component: Any,
    registry: Registry | None,
    options: Mapping[str, Any],
    root: str | Path | None = None,
) -> Report:
    """The findings of every check of `kind`; of "builds" alone if the component can't be built.

    `root` is the folder of the datasets, for a dataset (default: $METRICFORGE_DATA or "data").
    Raises UsageError for an unknown kind.
    """
    if kind not in KINDS:
        raise unknown("kind of component", kind, KINDS)
    registry = registry or Registry.installed()
    fixed = {"root": _data_root(root)} if kind == "dataset" else {}
    builds = CHECKS[kind][0]
    name = component if isinstance(component, str) else getattr(component, "__name__", None)
    name = str(name or type(component).__name__)
    with preserved(), torch.enable_grad():
        try:
            subject = find(kind, component, registry, options, fixed)
        except Broken as error:
            return Report(kind, name, (Finding(builds.name, "failed", str(error)),))
        return Report(kind, name, tuple(findings_of(CHECKS[kind], subject)))


def findings_of(checks: tuple[Check, ...], subject: Subject) -> Iterator[Finding]:
    """The finding of each check; after a failed one that others depend on, they are skipped."""
    missing = ""
    for check in checks:
        if missing:
            yield Finding(check.name, "skipped", f"it rests on {missing}, which fails.")
            continue
        finding = run(check, subject)
        yield finding
        if check.first and finding.outcome == "failed":
            missing = check.name


def run(check: Check, subject: Subject) -> Finding:
    """The finding of one check; whatever the component raises in it is a failure."""
    try:
        note = check.run(subject)
    except Skipped as reason:
        return Finding(check.name, "skipped", str(reason))
    except Broken as error:
        return Finding(check.name, "failed", str(error))
    except MetricForgeError as error:
        return Finding(check.name, "failed", f"{refusal(error)}")
    except Exception as error:
        return Finding(check.name, "failed", raised(error))
    return Finding(check.name, "noted" if note else "passed", note or check.says)


def _data_root(root: str | Path | None) -> Path:
    return Path(root or os.environ.get("METRICFORGE_DATA") or "data").expanduser()
