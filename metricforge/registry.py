"""Entry points to components: one at a time, loaded only when chosen.

A registry is an object made from entry points; tests pass their own.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import Any, Literal

from metricforge.contracts import API_VERSION, KINDS, Build, InnerSpec
from metricforge.entry_points import (
    GROUPS,
    OWN,
    PREFIX,
    distribution_of,
    installed_points,
    normalized,
)
from metricforge.errors import (
    MetricForgeError,
    PluginError,
    ResourceError,
    UnfitError,
    UsageError,
    out_of_memory,
    told,
    unknown,
)
from metricforge.member_names import refuse_misnamed
from metricforge.spec import Factory, Spec, asks_of, bind, complete, options_of
from metricforge.static_reading import DECLARATION, Reading, read

_ORDER = list(GROUPS.values())


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

    @cached_property
    def _distribution(self) -> tuple[str, str]:
        return distribution_of(self.point)

    @property
    def distribution(self) -> str:
        return self._distribution[0]

    @property
    def version(self) -> str:
        return self._distribution[1]

    @property
    def origin(self) -> str:
        """The distribution and version to blame, e.g. "metricforge 0.1.0"."""
        return f"{self.distribution} {self.version}"

    @cached_property
    def reading(self) -> Reading:
        """What its source declares; nothing is imported."""
        return read(self.point)

    def summary(self) -> str:
        """The first line of the component's docstring, read from source without importing it."""
        return self.reading.summary

    @property
    def mismatch(self) -> str:
        """Why it does not fit this metricforge, "" if it does or declares nothing."""
        made_for = self.reading.api
        if made_for in (None, API_VERSION):
            return ""
        return (
            f"made for plugin API {made_for}, and this metricforge has {API_VERSION}: "
            f"{'upgrade metricforge' if (made_for or 0) > API_VERSION else 'upgrade the plugin'}"
        )


@dataclass(frozen=True)
class Status:
    """Whether an entry can be used, or why not; "not imported" where only its source was read."""

    word: Literal["not imported", "ok", "broken", "shadowed"]
    reason: str = ""


class Registry:
    """The components that entry points name, by kind and name.

    Args:
        points: Entry points; those of other groups are ignored, or listed in `misplaced`.
    """

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        points = list(points)
        self.misplaced = [p for p in points if p.group.startswith(PREFIX) and p.group not in GROUPS]
        self._entries = sorted(
            (Entry(GROUPS[p.group], p.name, p) for p in points if p.group in GROUPS),
            key=lambda entry: (_ORDER.index(entry.kind), entry.name, entry.distribution),
        )
        self._resolved: dict[tuple[str, str, str | None, bool], Entry] = {}
        self._factories: dict[tuple[Entry, str], Factory] = {}

    @classmethod
    def installed(cls) -> Registry:
        """The registry of every distribution in this environment, or of METRICFORGE_PLUGINS."""
        return cls(installed_points())

    def entries(self, kind: str | None = None) -> list[Entry]:
        """The entries, sorted by kind, name and distribution; nothing is imported.

        Args:
            kind: E.g. "sampler". Default: all kinds.

        Returns:
            The entries.
        """
        return [entry for entry in self._entries if kind in (None, entry.kind)]

    def told_of(self, point: EntryPoint) -> str:
        """A sentence on an entry point in an unknown group, with the group it should be in.

        Args:
            point: One of `misplaced`.

        Returns:
            The sentence.
        """
        near = difflib.get_close_matches(point.group, GROUPS, n=1)
        hint = f"did you mean '{near[0]}'" if near else f"there are {', '.join(GROUPS)}"
        return (
            f"{distribution_of(point)[0]} registers '{point.name}' in '{point.group}', which is no "
            f"group; {hint}? Correct its pyproject.toml and install it again."
        )

    def status(self, entry: Entry) -> Status:
        """Whether an entry can be used by its name; nothing is imported.

        Args:
            entry: The entry.

        Returns:
            The status, with the reason if it is not ok.
        """
        if fault := entry.mismatch or entry.reading.fault:
            return Status("broken", fault)
        shadowing = [e for e in self._matching(entry.kind, entry.name) if e != entry]
        if shadowing:
            owners = ", ".join(sorted(e.distribution for e in shadowing))
            pick = f"{entry.distribution}:{entry.shown}"
            return Status("shadowed", f"{owners} has the name too: write {pick}")
        return Status("not imported")

    def find(self, kind: str, spec: Spec) -> Entry:
        """The one entry that `spec` names.

        Args:
            kind: E.g. "sampler".
            spec: The component.

        Returns:
            The entry; nothing is imported.

        Raises:
            UsageError: There is none; the error has the nearest name.
            PluginError: Two distributions register it, and the spec does not select one.
        """
        key = (kind, spec.name, spec.distribution, spec.typed)
        if key not in self._resolved:
            self._resolved[key] = self._find(kind, spec)
        return self._resolved[key]

    def _find(self, kind: str, spec: Spec) -> Entry:
        exact = self._matching(kind, spec.name)
        if len(exact) > 1 and not spec.typed:
            exact = [entry for entry in exact if entry.distribution == OWN] or exact
        if spec.distribution:
            distribution = normalized(spec.distribution)
            exact = [e for e in exact if normalized(e.distribution) == distribution]
        if not exact:
            raise self._unknown(kind, spec)
        if len(exact) > 1:
            owners = sorted(f"{e.distribution}:{spec.name}" for e in exact)
            raise PluginError(
                f"{kind} '{spec.name}' is registered by more than one distribution; "
                f"write {' or '.join(owners)}."
            )
        return exact[0]

    def _matching(self, kind: str, name: str) -> list[Entry]:
        """The entry of each distribution that matches a name: exactly, else its nearest family."""
        of: dict[tuple[str, str], Entry] = {}
        for entry in self.entries(kind):
            fits = name.startswith(entry.name) if entry.family else name == entry.name
            owner = (entry.distribution, entry.version)
            # An exact name is longer than the prefix of a family.
            if fits and (owner not in of or len(entry.name) > len(of[owner].name)):
                of[owner] = entry
        return list(of.values())

    def factory(self, kind: str, spec: Spec) -> Factory:
        """Import the one component that `spec` names, and check its parameters.

        Args:
            kind: E.g. "sampler".
            spec: The component.

        Returns:
            The class or function that the entry point names.

        Raises:
            UsageError: There is no such component.
            PluginError: Anything goes wrong in it; the error names the distribution.
        """
        entry = self.find(kind, spec)
        if (entry, spec.name) not in self._factories:
            self._factories[entry, spec.name] = self._factory(entry, spec)
        return self._factories[entry, spec.name]

    def _factory(self, entry: Entry, spec: Spec) -> Factory:
        loaded = load(entry)
        factory = _member(loaded, entry, spec) if entry.family else loaded
        if not callable(factory):
            raise PluginError(f"{_blame(entry)} is {type(factory).__name__}, not a factory.")
        kind, offers = entry.kind, KINDS[entry.kind].offers
        try:
            required = asks_of(factory)
        except (ValueError, TypeError) as error:
            raise PluginError(f"{_blame(entry, spec)} has no signature to read.") from error
        for name in required:
            if name not in offers:
                raise PluginError(
                    f"{_blame(entry, spec)} requires '{name}', which the core offers to no "
                    f"{kind}; it offers {', '.join(offers)}. Options are keyword-only: put them "
                    "behind a *."
                )
        return factory

    def build(self, kind: str, spec: Spec, offers: Mapping[str, Any]) -> Any:
        """Build the component that `spec` names, from its options and the offers that it requires.

        Args:
            kind: E.g. "sampler".
            spec: The component and its options.
            offers: Values for its ordinary parameters, by name; None is what this run does not have
                (no groups, no margin).

        Returns:
            The component.

        Raises:
            UnfitError: The component requires an offer of None.
            UsageError: There is no such component, or an option is unknown, wrong or missing.
            PluginError: Anything goes wrong in the plugin.
            ResourceError: Out of memory.
        """
        factory = self.factory(kind, spec)
        what = f"{kind} '{spec.name}'"
        offers = {**offers, "build": self.builder(kind, offers)}
        required = {name: offers.get(name) for name in asks_of(factory)}
        for name, value in required.items():
            if value is None:
                raise UnfitError(f"{what} {_unfit(name)}")
        options = bind(factory, spec, what, KINDS[kind].common)
        try:
            made = factory(**required, **options)
        except MetricForgeError:
            raise
        except (Exception, SystemExit) as error:
            if out_of_memory(error):
                less = "; a smaller --dim or network takes less" if "dim" in offers else ""
                raise ResourceError(f"out of memory while {what} was made{less}.") from error
            blame = _blame(self.find(kind, spec), spec)
            raise PluginError(f"{blame} failed: {told(error)}.") from error
        refuse_misnamed(kind, made, _blame(self.find(kind, spec), spec))
        return made

    def builder(self, kind: str, offers: Mapping[str, Any]) -> Build[Any]:
        """The `build` of a component that requires it: it builds others of its kind from specs.

        Args:
            kind: E.g. "sampler".
            offers: Values for the ordinary parameters, by name.

        Returns:
            A function of a spec, and of the offers that are others for that component.
        """
        return lambda spec, **own: self.build(kind, Spec.parse(spec), {**offers, **own})

    def complete(self, kind: str, spec: Spec) -> Spec:
        """`spec` with all its defaults written out, for the record of a run.

        This includes the components that it wraps, by options of the type InnerSpec.

        Args:
            kind: E.g. "sampler".
            spec: The component and its options.

        Returns:
            The complete spec.
        """
        factory = self.factory(kind, spec)
        spec, common = self.without_common(kind, spec)
        full = complete(factory, spec, f"{kind} '{spec.name}'", KINDS[kind].common)
        inner = {
            name: str(self.complete(kind, Spec.parse(full.options[name])))
            for name, option in options_of(factory, full.options).items()
            if option.type == InnerSpec
        }
        if not spec.typed and len(self._matching(kind, spec.name)) > 1:
            # In a record it must differ from that of another distribution.
            full = replace(full, distribution=OWN)
        return replace(full, options={**full.options, **inner, **common})

    def without_common(self, kind: str, spec: Spec) -> tuple[Spec, dict[str, str]]:
        """A spec without the options that the core itself takes for every component of its kind.

        Args:
            kind: E.g. "backbone", whose `weights` name a file to start from.
            spec: The component and its options.

        Returns:
            The component's own spec, and the options of the core. A value that the component's own
            option of the name can read is the component's: torchvision's have `weights=true`.
        """
        if not KINDS[kind].common.keys() & spec.options.keys():
            return spec, {}
        own = options_of(self.factory(kind, spec))
        common = {
            name: text
            for name, text in spec.options.items()
            if name in KINDS[kind].common and not (name in own and own[name].can_read(text))
        }
        kept = {name: text for name, text in spec.options.items() if name not in common}
        return replace(spec, options=kept), common

    def _unknown(self, kind: str, spec: Spec) -> UsageError:
        for point in self.misplaced:
            if point.name == spec.name:
                return UsageError(self.told_of(point))
        if spec.distribution in [entry.name for entry in self.entries(kind)]:
            return UsageError(
                f"'{spec}' names a distribution '{spec.distribution}'; for an option of the {kind} "
                f"'{spec.distribution}' write {spec.distribution}:{spec.name}=VALUE."
            )
        if spec.distribution:
            owned = {f"{e.distribution}:{e.shown}" for e in self.entries(kind)}
            return unknown(kind, f"{spec.distribution}:{spec.name}", owned)
        return unknown(kind, spec.name, {e.shown for e in self.entries(kind)})


def _unfit(offer: str) -> str:
    """What is wrong with a component that requires an offer which a run does not have."""
    if offer in ("in_channels", "image_size"):
        return "takes images, and the dataset has vectors; leave it out."
    if offer == "in_features":
        return "takes vectors, and the dataset has images; leave it out."
    advice = "."
    if offer == "groups":
        advice = (
            ": take a dataset whose classes have groups (omniglot's are alphabets), or another."
        )
    return f"requires {offer}, which this run does not have{advice}"


def load(entry: Entry) -> Any:
    """Import the object of an entry; PluginError, with its distribution, for any failure."""
    if entry.mismatch:
        raise PluginError(f"{_blame(entry)} was {entry.mismatch}.")
    try:
        loaded = entry.point.load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    # A plugin that exits on import, or raises a test's skip, must not stop the others.
    except BaseException as error:
        visible = isinstance(error, ImportError | AttributeError | SyntaxError)
        reason = (visible and entry.reading.fault) or told(error)
        raise PluginError(f"{_blame(entry)} can't be imported: {reason}.") from error
    if (declared := _declared(entry.point.module)) not in (None, API_VERSION):
        raise PluginError(
            f"{_blame(entry)} was made for plugin API {declared!r}, and this metricforge has "
            f"{API_VERSION}."
        )
    return loaded


def _declared(module: str) -> Any:
    """The API version that an imported module, or a package around it, declares in any way."""
    while module:
        if hasattr(sys.modules.get(module), DECLARATION):
            return getattr(sys.modules[module], DECLARATION)
        module = module.rpartition(".")[0]
    return None


def _member(family: Any, entry: Entry, spec: Spec) -> Factory:
    if not isinstance(family, Mapping):
        raise PluginError(f"{_blame(entry)} is a family and must be a mapping of factories.")
    member = spec.name.removeprefix(entry.name)
    try:
        factory: Factory = family[member]
    except KeyError:
        raise unknown(f"{entry.kind} of {entry.shown}:", member, family) from None
    return factory


def _blame(entry: Entry, spec: Spec | None = None) -> str:
    name = spec.name if spec else entry.shown
    return f"{entry.kind} '{name}' of {entry.origin} ({entry.point.value})"
