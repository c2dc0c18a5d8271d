"""Entry points to components: one at a time, loaded only when chosen.

A registry is an object made from entry points; tests pass their own.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from metricforge.contracts import KINDS, Build
from metricforge.errors import DataError, MetricForgeError, PluginError, UsageError, unknown
from metricforge.spec import Factory, Spec, asks_of, bind, complete


@dataclass(frozen=True)
class Entry:
    """One registered name. A name that ends in a dot is a family: `pml.` gives `pml.NAME`."""

    kind: str
    name: str
    point: EntryPoint

    @property
    def family(self) -> bool:
        return self.name.endswith(".")

    @property
    def shown(self) -> str:
        return f"{self.name}NAME" if self.family else self.name

    @property
    def distribution(self) -> str:
        return self.point.dist.name if self.point.dist else "unknown"

    @property
    def version(self) -> str:
        return self.point.dist.version if self.point.dist else "?"

    @property
    def origin(self) -> str:
        """The distribution and version to blame, as in "metricforge 0.1.0"."""
        return f"{self.distribution} {self.version}"

    def summary(self) -> str:
        """The first line of the component's docstring, read from source without importing it."""
        source = _source_of(self.point.module)
        if source is None:
            return ""
        try:
            tree = ast.parse(source.read_bytes())
        except (OSError, SyntaxError, ValueError):
            return ""
        return _first_line(tree, self.point.attr.partition(".")[0])


class Registry:
    """The components that these entry points name, by kind and name."""

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        kinds = {kind.group: kind.name for kind in KINDS.values()}
        self._entries = sorted(
            (Entry(kinds[p.group], p.name, p) for p in points if p.group in kinds),
            key=lambda entry: (list(KINDS).index(entry.kind), entry.name, entry.distribution),
        )

    @classmethod
    def installed(cls) -> Registry:
        """The registry of every distribution in this environment."""
        return cls(p for kind in KINDS.values() for p in entry_points(group=kind.group))

    def entries(self, kind: str | None = None) -> list[Entry]:
        """All entries, or those of one kind, sorted by name; nothing is imported."""
        return [entry for entry in self._entries if kind in (None, entry.kind)]

    def find(self, kind: str, spec: Spec) -> Entry:
        """The one entry that `spec` names.

        Raises UsageError with the nearest name when there is none, and PluginError when two
        distributions register it and the spec does not say which.
        """
        named = [e for e in self.entries(kind) if e.name == spec.name and not e.family]
        families = [e for e in self.entries(kind) if e.family and spec.name.startswith(e.name)]
        exact = named or families
        if spec.distribution:
            exact = [e for e in exact if e.distribution == spec.distribution]
        if not exact:
            raise self._unknown(kind, spec)
        if len(exact) > 1:
            owners = sorted(f"{e.distribution}:{spec.name}" for e in exact)
            raise PluginError(
                f"{kind} '{spec.name}' is registered by more than one distribution; "
                f"write {' or '.join(owners)}."
            )
        return exact[0]

    def factory(self, kind: str, spec: Spec) -> Factory:
        """Import the one component that `spec` names, and check that it can be asked for.

        Raises PluginError, naming the distribution, for anything that goes wrong in there.
        """
        entry = self.find(kind, spec)
        loaded = _load(entry)
        factory = _member(loaded, entry, spec) if entry.family else loaded
        if not callable(factory):
            raise PluginError(f"{_blame(entry)} is {type(factory).__name__}, not a factory.")
        offers = KINDS[kind].offers
        try:
            asked = asks_of(factory)
        except (ValueError, TypeError) as error:
            raise PluginError(f"{_blame(entry, spec)} has no signature to read.") from error
        for name in asked:
            if name not in offers:
                raise PluginError(
                    f"{_blame(entry, spec)} asks for '{name}', which the core does not offer to "
                    f"a {kind}; it offers {', '.join(offers) or 'nothing'}."
                )
        return factory

    def build(self, kind: str, spec: Spec, offers: Mapping[str, Any]) -> Any:
        """The component that `spec` names, made from its options and what it asks of `offers`.

        An offer of None is one that this run does not have (no groups, no margin); a component
        that asks for it is refused with DataError. Raises what `find`, `factory` and `bind` raise.
        """
        factory = self.factory(kind, spec)
        what = f"{kind} '{spec.name}'"
        offers = {**offers, "build": self.builder(kind, offers)}
        asked = {name: offers.get(name) for name in asks_of(factory)}
        for name, value in asked.items():
            if value is None:
                raise DataError(f"{what} asks for {name}, which this run does not have.")
        options = bind(factory, spec, what)
        try:
            return factory(**asked, **options)
        except MetricForgeError:
            raise
        except Exception as error:
            blame = _blame(self.find(kind, spec), spec)
            raise PluginError(f"{blame} failed: {type(error).__name__}: {error}") from error

    def builder(self, kind: str, offers: Mapping[str, Any]) -> Build:
        """What a component gets that asks for `build`: it makes others of its kind from specs."""
        return lambda spec: self.build(kind, Spec.parse(spec), offers)

    def complete(self, kind: str, spec: Spec) -> Spec:
        """`spec` with all its defaults written out, for the record of a run."""
        return complete(self.factory(kind, spec), spec, f"{kind} '{spec.name}'")

    def _unknown(self, kind: str, spec: Spec) -> UsageError:
        if spec.distribution:
            owned = {f"{e.distribution}:{e.shown}" for e in self.entries(kind)}
            return unknown(kind, f"{spec.distribution}:{spec.name}", owned)
        return unknown(kind, spec.name, {e.shown for e in self.entries(kind)})


def _load(entry: Entry) -> Any:
    try:
        return entry.point.load()
    # A plugin that calls sys.exit() while importing must cost nobody else anything.
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{_blame(entry)} can't be imported: {type(error).__name__}: {error}"
        ) from error


def _member(family: Any, entry: Entry, spec: Spec) -> Factory:
    if not isinstance(family, Mapping):
        raise PluginError(f"{_blame(entry)} is a family and must be a mapping of factories.")
    member = spec.name.removeprefix(entry.name)
    if member not in family:
        raise unknown(f"{entry.kind} of {entry.shown}:", member, family)
    factory: Factory = family[member]
    return factory


def _blame(entry: Entry, spec: Spec | None = None) -> str:
    name = spec.name if spec else entry.shown
    return f"{entry.kind} '{name}' of {entry.origin} ({entry.point.value})"


def _source_of(module: str) -> Path | None:
    """The file of a module, found without importing it or its parents."""
    top, *rest = module.split(".")
    found = importlib.util.find_spec(top)
    name = top
    for part in rest:
        if found is None or found.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        found = PathFinder.find_spec(name, list(found.submodule_search_locations))
    origin = found.origin if found else None
    return Path(origin) if origin and origin.endswith(".py") else None


def _first_line(tree: ast.Module, attribute: str) -> str:
    """The first line that documents `attribute`: its docstring, or the string below it."""
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            return (ast.get_docstring(node) or "").partition("\n")[0]
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = any(isinstance(t, ast.Name) and t.id == attribute for t in targets)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return str(after.value.value).partition("\n")[0]
    return ""
