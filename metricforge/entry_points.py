"""The entry points of the installed distributions, of which one may be damaged."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions
from itertools import takewhile
from weakref import WeakKeyDictionary

from metricforge.contracts import COMMANDS, KINDS, SEARCHES
from metricforge.errors import UsageError

COMMAND = "command"
"""The kind of an entry that is a click command: no component, but found in the same way."""

SEARCH = "search"
"""The kind of an entry that chooses the options of trials: no component of a recipe either."""

GROUPS = {kind.group: kind.name for kind in KINDS.values()} | {
    COMMANDS: COMMAND,
    SEARCHES: SEARCH,
}
"""Every entry-point group of a plugin, and the kind of its entries."""

PREFIX = "metricforge."
"""The prefix of every such group; another group with this prefix is a mistake."""

RESTRICTION = "METRICFORGE_PLUGINS"
"""The environment variable that names the distributions whose plugins may be used."""

UNKNOWN = "unknown"
"""The name of a distribution whose metadata have none."""

OWN = "metricforge"
"""The distribution of the core, whose components are always available."""


def installed_points() -> list[EntryPoint]:
    """The entry points of all plugins, of the distributions that METRICFORGE_PLUGINS allows.

    Raises UsageError when the variable names a distribution that has none.
    """
    return _allowed(list(_of_each_distribution()), os.environ.get(RESTRICTION))


def owner_of(component: object) -> str:
    """The plugin's distribution and version, e.g. "metricforge 0.1.0"; "" if it is no plugin."""
    own = component if hasattr(component, "__qualname__") else type(component)
    module = str(getattr(own, "__module__", "")).split(".")
    # If distributions share a namespace package, the one whose modules are nearest.
    nearest = max(_of_each_distribution(), key=lambda point: _shared(module, point), default=None)
    if nearest is None or _shared(module, nearest) == 0:
        return ""
    return " ".join(distribution_of(nearest))


def distribution_of(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that registers an entry point, from its metadata."""
    if point.dist is None:
        return (UNKNOWN, "?")
    if point.dist not in _identities:
        _identities[point.dist] = _read(point.dist)
    return _identities[point.dist]


_identities: WeakKeyDictionary[Distribution, tuple[str, str]] = WeakKeyDictionary()
"""A cache, since a distribution's metadata would be read for each of its points."""


def _read(distribution: Distribution) -> tuple[str, str]:
    try:
        # If the metadata are damaged some releases of Python return None, others raise.
        return (distribution.name or UNKNOWN, distribution.version or "?")
    except Exception:
        return (UNKNOWN, "?")


def normalized(name: str) -> str:
    """The name of a distribution as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _shared(module: list[str], point: EntryPoint) -> int:
    """How many packages a module and an entry point have in common, from the outermost."""
    declared = point.value.partition(":")[0].strip().split(".")
    pairs = zip(module, declared, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _allowed(points: list[EntryPoint], restriction: str | None) -> list[EntryPoint]:
    if restriction is None:
        return points
    requested = {normalized(name.strip()) for name in restriction.split(",") if name.strip()}
    owners = [normalized(distribution_of(point)[0]) for point in points]
    if missing := requested - set(owners):
        raise UsageError(
            f"{RESTRICTION} names {', '.join(sorted(missing))}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed or no plugin; there are: "
            f"{', '.join(sorted(set(owners)))}."
        )
    allowed = requested | {OWN}
    return [point for point, owner in zip(points, owners, strict=True) if owner in allowed]


def _of_each_distribution() -> Iterator[EntryPoint]:
    """Not `importlib.metadata.entry_points`: there one damaged file costs all distributions."""
    visited: set[str] = set()
    for distribution in distributions():
        points = [point for point in _points_of(distribution) if point.group.startswith(PREFIX)]
        name = normalized(distribution_of(points[0])[0]) if points else ""
        # If a distribution is installed twice, Python imports the first on the path.
        if points and (name == UNKNOWN or name not in visited):
            visited.add(name)
            yield from points


def _points_of(distribution: Distribution) -> list[EntryPoint]:
    try:
        return list(distribution.entry_points)
    except Exception:  # the damaged one
        return []
