"""Finds the components that `plugins check` names, and runs the conformance kit on each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from metricforge.contracts import KINDS, InnerSpec
from metricforge.entry_points import normalized
from metricforge.errors import MetricForgeError, PluginError, UsageError, unknown
from metricforge.registry import Entry, Registry
from metricforge.spec import Spec, further_of, options_of
from metricforge.testing import Finding, check


@dataclass(frozen=True)
class Examined:
    """One component and its findings; `spec` built it, `origin` is its distribution."""

    kind: str
    spec: str
    origin: str
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.outcome == "failed"]


def examine(
    what: str,
    kind: str | None = None,
    data_root: str | None = None,
    registry: Registry | None = None,
) -> Iterator[Examined]:
    """Run the kit on the components of `what`: a distribution, or a spec.

    Of a distribution, families and components with required options are reported as skipped.
    Raises UsageError if nothing matches.
    """
    registry = registry or Registry.installed()
    root = data_root or os.environ.get("METRICFORGE_DATA") or "data"
    entries = [e for e in registry.entries(kind) if e.kind in KINDS]
    owned = [e for e in entries if normalized(e.distribution) == normalized(what)]
    if owned:
        for entry in owned:
            spec = Spec(entry.shown, distribution=_if_shared(entry, registry))
            yield _examined(registry, entry.kind, spec, entry, root)
        return
    spec = Spec.parse(what)
    meant = [each for each in KINDS if kind in (None, each) and _exists(registry, each, spec)]
    if not meant:
        _refuse_what_has_no_checks(registry, what)
        names = {e.shown for e in entries} | {e.distribution for e in entries}
        raise unknown("component or distribution", what, names)
    for each in meant:
        yield _examined(registry, each, spec, registry.find(each, spec), root)


def _refuse_what_has_no_checks(registry: Registry, what: str) -> None:
    """Refuse commands and searches, and distributions of them alone, with a message."""
    for entry in registry.entries():
        if entry.kind not in KINDS:
            if normalized(entry.distribution) == normalized(what):
                raise UsageError(f"'{what}' has no component for the kit to check: run its tests.")
            if entry.name == what:
                raise UsageError(
                    f"'{what}' is a {entry.kind}, which the kit does not check: run the tests of "
                    f"{entry.distribution}."
                )


def _if_shared(entry: Entry, registry: Registry) -> str | None:
    shadowed = registry.status(entry).word == "shadowed"
    return entry.distribution if shadowed else None


def _exists(registry: Registry, kind: str, spec: Spec) -> bool:
    try:
        entry = registry.find(kind, spec)
        if spec.name not in (entry.name, entry.shown):
            registry.factory(kind, spec)  # only a family itself knows its members
    except UsageError:
        return False
    except PluginError:
        return True  # it exists and is broken: the kit reports that
    return True


def _examined(registry: Registry, kind: str, spec: Spec, entry: Entry, root: str) -> Examined:
    findings = _left_out(registry, kind, spec, entry) or _findings(registry, kind, spec, root)
    status = registry.status(entry)
    if status.word == "shadowed":
        note = f"{status.reason}; users of the plain name are refused, so take another."
        findings = (Finding("name-is-free", "noted", note), *findings)
    return Examined(kind, str(spec), entry.origin, findings)


def _left_out(registry: Registry, kind: str, spec: Spec, entry: Entry) -> tuple[Finding, ...]:
    """Why the kit can't run on the spec, and the fuller spec that it needs."""
    if entry.family and spec.name in (entry.name, entry.shown):
        way = f"name a member: metricforge plugins check {entry.name}NAME"
        return (Finding("builds", "skipped", f"a family; {way}"),)
    try:
        factory = registry.factory(kind, spec)
        options = options_of(factory, spec.options)
    except MetricForgeError as error:
        return (Finding("builds", "failed", str(error)),)
    for name in spec.options:
        if name not in options:
            raise unknown(f"option of {kind} '{spec.name}':", name, options)
    needed = {n: n.upper() for n, o in options.items() if o.required and n not in spec.options}
    further = further_of(factory)
    if further and not set(spec.options) - set(options_of(factory)):
        needed["NAME"] = "SPEC" if further.type == InnerSpec else "VALUE"
    if needed:
        way = f'metricforge plugins check "{Spec(spec.name, needed, spec.distribution)}"'
        return (Finding("builds", "skipped", f"it needs {', '.join(needed)}: {way}"),)
    return ()


def _findings(registry: Registry, kind: str, spec: Spec, root: str) -> tuple[Finding, ...]:
    where: dict[str, Any] = {"root": root} if kind == "dataset" else {}
    return tuple(check(kind, str(spec), registry=registry, **where).findings)
