"""The findings of the kit on one component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["passed", "failed", "skipped", "noted"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: Name of the check.
        outcome: "passed", "failed", "skipped" or "noted".
        says: A sentence or two.
    """

    check: str
    outcome: Outcome
    says: str


@dataclass(frozen=True)
class Report:
    """The findings on one component, in the order of the checks.

    Attributes:
        kind: E.g. "sampler".
        component: Name of the component.
        findings: A finding of each check.
    """

    kind: str
    component: str
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return tuple(finding for finding in self.findings if finding.outcome == "failed")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Notes that are no failure: time and memory, unusual but allowed behaviour."""
        return tuple(finding for finding in self.findings if finding.outcome == "noted")

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    def __str__(self) -> str:
        """One line a failure or note, under a line that counts them."""
        of = f"{self.kind} {self.component}"
        if not self.failures:
            head, shown = f"{of} passes {len(self.findings)} checks", self.notes
        else:
            head = f"{of} breaks {len(self.failures)} of {len(self.findings)} checks"
            shown = self.failures
        lines = [f"  {finding.check}: {finding.says}" for finding in shown]
        return "\n".join([f"{head}{':' if lines else '.'}", *lines])


class ContractBroken(AssertionError):  # noqa: N818 - pytest shows the name, and it says it all
    """A component fails checks of its kind.

    Attributes:
        report: All findings.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report
