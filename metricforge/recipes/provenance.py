"""The distributions of a run's components: recorded with it, and required to resume it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metricforge.errors import PluginError, UsageError
from metricforge.recipes.recipe import Recipe, options
from metricforge.registry import Registry
from metricforge.spec import Spec


def origins(recipe: Recipe, registry: Registry) -> dict[str, str]:
    """Distribution and version of each component that a recipe names by a spec, by its role."""
    return {role: registry.find(kind, spec).origin for role, kind, spec in _specs(recipe)}


def refuse_if_gone(recipe: Recipe, registry: Registry, recorded: Mapping[str, str]) -> list[str]:
    """Notes on components of another version than at the start of the run.

    Raises PluginError when one is no longer installed, or is another distribution's now.
    """
    notes: list[str] = []
    for role, kind, spec in _specs(recipe):
        try:
            owner = registry.find(kind, spec)
        except UsageError as error:
            if role not in recorded:
                raise
            name, _, version = recorded[role].rpartition(" ")
            raise PluginError(
                f"the run uses the {kind} '{spec.name}' of {recorded[role]}, which is not "
                f"installed any more: pip install {name}=={version}."
            ) from error
        name, _, version = recorded.get(role, owner.origin).rpartition(" ")
        if name != owner.distribution:
            raise PluginError(
                f"the run was begun with the {kind} '{spec.name}' of {recorded[role]}, and now it "
                f"is of {owner.origin}: pip install {name}=={version}."
            )
        if version != owner.version:
            notes.append(
                f"{kind} '{spec.name}' is of {owner.origin} now, the run began with {version}."
            )
    return notes


def _specs(recipe: Recipe) -> Iterator[tuple[str, str, Spec]]:
    """(role, kind, spec) of every component of a recipe that has a spec."""
    for name, kind, chosen in recipe.components():
        if isinstance(chosen, Spec):
            role = f"{kind} {chosen.name}" if options()[name].several else name
            yield role, kind, chosen
