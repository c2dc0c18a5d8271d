"""How a broken component is shown to fail one check, and that alone."""

from __future__ import annotations

from typing import Any

from metricforge.registry import Registry
from metricforge.testing import CHECKS, Finding, Report
from metricforge.testing.checks import Broken
from metricforge.testing.conformance import findings_of
from metricforge.testing.randomness import preserved
from metricforge.testing.subject import find

# They never fail: time and memory, which would take most of the time of these tests.
MEASURED = {"growth"}
REGISTRY = Registry.installed()


def assert_ends(kind: str, name: str, component: Any, outcome: str) -> None:
    """The check of this name must end so, and no other check may fail."""
    report = _examined(kind, component)
    ended = {finding.check: finding.outcome for finding in report.findings}
    assert ended[name] == outcome, str(report)
    failed = [finding.check for finding in report.failures]
    assert failed == ([name] if outcome == "failed" else []), str(report)


def assert_all_are_broken(kind: str, broken: dict[str, Any]) -> None:
    """Every check of a kind says what must hold and has a component that it finds."""
    names = [each.name for each in CHECKS[kind]]
    assert len(set(names)) == len(names)
    assert set(broken) == set(names) - MEASURED
    assert all(each.says.endswith(".") for each in CHECKS[kind])


def _examined(kind: str, component: Any) -> Report:
    checks = tuple(each for each in CHECKS[kind] if each.name not in MEASURED)
    with preserved():
        try:
            subject = find(kind, component, REGISTRY, {}, {"root": "data"})
        except Broken as error:
            return Report(kind, "", (Finding("builds", "failed", str(error)),))
        return Report(kind, "", tuple(findings_of(checks, subject)))
