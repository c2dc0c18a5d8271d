"""The search space: fields of a recipe, and options of its components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from metricforge.errors import UsageError, unknown
from metricforge.recipes.option import Option as RecipeOption
from metricforge.recipes.recipe import Recipe, options
from metricforge.registry import Registry
from metricforge.spec import Option, Spec, options_of
from metricforge.tuning.space import Choice, Dimension, dimension


def _searchable() -> Mapping[str, RecipeOption]:
    """The options of a recipe that may be searched, by name."""
    return {name: each for name, each in options().items() if each.about.tunable}


def _components() -> list[str]:
    """The searchable options that name a component, which has options of its own."""
    return [name for name, each in _searchable().items() if each.type is Spec]


def read_options(texts: Iterable[str], recipe: Recipe, registry: Registry) -> tuple[Dimension, ...]:
    """The search space that KEY=VALUES texts describe, checked against `recipe`.

    Whole components are read first: an option must be one of every component that may be chosen.

    Args:
        texts: E.g. "sampler.per_class=2,4" (choices) or "loss.margin=0.05..0.5" (a range).
        recipe: The recipe to search from.
        registry: Registry of components.

    Returns:
        A dimension for each key, in order.

    Raises:
        UsageError: A component, option or field is unknown (with the nearest), a value has another
            type, or a key is given twice.
    """
    values_by_key: dict[str, str | None] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if key in values_by_key:
            raise UsageError(f"option {key} is given twice; give all of its values at once.")
        values_by_key[key] = values if equals else None
    if not values_by_key:
        raise UsageError("there is nothing to search: give options, as in sampler.per_class=2,4.")
    whole = {
        key: _field(key, values_by_key[key], registry) for key in values_by_key if "." not in key
    }
    parts = {
        key: _part(key, values_by_key[key], whole, recipe, registry)
        for key in values_by_key
        if "." in key
    }
    return tuple((whole | parts)[key] for key in values_by_key)


def carried_out(recipe: Recipe, chosen: Mapping[str, str]) -> Recipe:
    """The recipe with the chosen values.

    Args:
        recipe: The recipe to search from.
        chosen: Values as text, by key.

    Returns:
        The recipe of a trial.
    """
    fields = {key: _value(key, text) for key, text in chosen.items() if "." not in key}
    recipe = recipe.but(**fields)
    for key, text in chosen.items():
        component, _, option = key.partition(".")
        if option:
            spec = getattr(recipe, component)
            recipe = recipe.but(
                **{component: replace(spec, options={**spec.options, option: text})}
            )
    return recipe


def _value(field: str, text: str) -> Any:
    return text if field in _components() else _plain(field).read(text)


def _plain(field: str) -> Option:
    return Option(field, options()[field].type, None)


def _field(key: str, values: str | None, registry: Registry) -> Dimension:
    """A field of the recipe: a whole component by its specs, or a plain value."""
    if key not in _searchable():
        if key not in options():
            raise unknown("option to search", key, _searchable())
        if options()[key].several and key != "protocols":
            raise UsageError(f"'{key}' can't be searched: it is a list; give it with the recipe.")
        raise UsageError(f"option {key}: all trials must have the same {key} to be compared.")
    if key not in _components():
        return _of_option(key, _plain(key), values)
    if values is None:
        raise UsageError(f"option {key} needs values, as in {key}=NAME,NAME.")
    choice = dimension(key, values, None, str, "specs")
    assert isinstance(choice, Choice), "specs are no numbers"
    for spec in choice.values:
        registry.factory(key, Spec.parse(spec))
    return choice


def _part(
    key: str,
    values: str | None,
    whole: Mapping[str, Dimension],
    recipe: Recipe,
    registry: Registry,
) -> Dimension:
    """An option of a component, which each candidate for the component must have."""
    component, _, name = key.partition(".")
    if component not in _components():
        raise unknown("component to search", component, _components())
    result = None
    for spec in _candidates(component, whole, recipe):
        known = options_of(registry.factory(component, spec))
        if name not in known:
            raise unknown(f"option of {component} '{spec.name}':", name, known)
        result = _of_option(key, known[name], values)
    assert result is not None, "a component has at least one candidate"
    return result


def _candidates(component: str, whole: Mapping[str, Dimension], recipe: Recipe) -> tuple[Spec, ...]:
    chosen = whole.get(component)
    if isinstance(chosen, Choice):
        return tuple(Spec.parse(text) for text in chosen.values)
    spec = getattr(recipe, component)
    if spec is None:
        raise UsageError(
            f"the recipe names no {component}, so its options are not known; name one in it, or "
            f"as an option, {component}=NAME."
        )
    return (spec,)


def _of_option(key: str, option: Option, values: str | None) -> Dimension:
    if values is not None:
        return dimension(key, values, _numeric(option.type), option.read, option.type_name)
    if every := _every_value(option.type):
        return Choice(key, every)
    raise UsageError(
        f"option {key} needs values of {option.type_name}: choices, {key}=A,B, or for numbers "
        f"a range, {key}=LOW..HIGH."
    )


def _parts(kind: Any) -> tuple[Any, ...]:
    """The types of a union without None, which stands for a default of one of the others."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(part for part in parts if part is not type(None))


def _numeric(kind: Any) -> type | None:
    parts = _parts(kind)
    return float if float in parts else int if int in parts else None


def _every_value(kind: Any) -> tuple[str, ...]:
    """All values of a bool or a Literal, else none."""
    values: list[str] = []
    for part in _parts(kind):
        if part is bool:
            values += ["true", "false"]
        elif get_origin(part) is Literal:
            values += map(str, get_args(part))
        else:
            return ()
    return tuple(values)
