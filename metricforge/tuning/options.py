"""What can be searched: fields of a recipe, and options of its components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from metricforge.errors import UsageError, unknown
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.spec import Factory, Option, Spec, options_of
from metricforge.training.optimizer import OPTIMIZERS, SCHEDULES
from metricforge.tuning.space import Choice, Dimension, dimension

OWN = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
"""The components that are the core's own, and in no registry."""

COMPONENTS = ("sampler", "miner", "loss", "backbone", "head", *OWN)

PLAIN: Mapping[str, type] = {
    "dim": int,
    "orientations": int,
    "epochs": int,
    "precision": str,
    "batch_norm": str,
    "clip": float,
    "ema": float,
    "freeze": int,
    "accumulate": int,
    "channels_last": bool,
}

SAME_FOR_ALL = ("dataset", "split", "protocols", "validation", "select", "seed", "device",
                "data_root", "test", "patience", "rates", "chunk", "compile", "save_steps",
                "save_minutes", "keep", "workers", "images", "seconds")  # fmt: skip
"""What decides how a trial is measured: with another one, two trials could not be compared."""

LISTS = ("augment", "hooks")
"""Fields of several components in order, which have no one name to search by; all trials share."""


def read_options(texts: Iterable[str], recipe: Recipe, registry: Registry) -> tuple[Dimension, ...]:
    """The search space that KEY=VALUES texts describe, checked against `recipe`.

    Whole components are read first: an option must be one of every component that may be chosen.
    Raises UsageError for unknown components, options and fields with the nearest, for values of
    another type, and for a key given twice.
    """
    given: dict[str, str | None] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if key in given:
            raise UsageError(f"option {key} is given twice; give all of its values at once.")
        given[key] = values if equals else None
    if not given:
        raise UsageError("there is nothing to search: give options, as in sampler.per_class=2,4.")
    whole = {key: _field(key, given[key], registry) for key in given if "." not in key}
    parts = {key: _part(key, given[key], whole, recipe, registry) for key in given if "." in key}
    return tuple((whole | parts)[key] for key in given)


def carried_out(recipe: Recipe, chosen: Mapping[str, str]) -> Recipe:
    """The recipe with the chosen values, each as text by its key."""
    fields = {key: _value(key, text) for key, text in chosen.items() if "." not in key}
    recipe = recipe.but(**fields)
    for key, text in chosen.items():
        component, _, option = key.partition(".")
        if option:
            spec = Spec.parse(getattr(recipe, component))
            changed = Spec(spec.name, {**spec.options, option: text}, spec.distribution)
            recipe = recipe.but(**{component: str(changed)})
    return recipe


def _value(field: str, text: str) -> Any:
    return _plain(field).read(text) if field in PLAIN else text


def _plain(field: str) -> Option:
    return Option(field, PLAIN[field], None)


def _field(key: str, values: str | None, registry: Registry) -> Dimension:
    """A field of the recipe: a whole component by its specs, or a plain value."""
    if key in LISTS:
        raise UsageError(f"'{key}' can't be searched: it is a list; give it with the recipe.")
    if key in SAME_FOR_ALL:
        raise UsageError(f"option {key}: all trials must have the same {key} to be compared.")
    if key in PLAIN:
        return _of_option(key, _plain(key), values)
    if key not in COMPONENTS:
        raise unknown("option to search", key, [*COMPONENTS, *PLAIN])
    if values is None:
        raise UsageError(f"option {key} needs values, as in {key}=NAME,NAME.")
    found = dimension(key, values, None, str, "specs")
    assert isinstance(found, Choice), "specs are no numbers"
    for spec in found.values:
        _factory(key, Spec.parse(spec), registry)
    return found


def _part(
    key: str,
    values: str | None,
    whole: Mapping[str, Dimension],
    recipe: Recipe,
    registry: Registry,
) -> Dimension:
    """An option of a component, which each spec that the component may have must take."""
    component, _, name = key.partition(".")
    if component not in COMPONENTS:
        raise unknown("component to search", component, COMPONENTS)
    found = None
    for spec in _candidates(component, whole, recipe):
        options = options_of(_factory(component, spec, registry))
        if name not in options:
            raise unknown(f"option of {component} '{spec.name}':", name, options)
        found = _of_option(key, options[name], values)
    assert found is not None, "a component has at least one candidate"
    return found


def _candidates(component: str, whole: Mapping[str, Dimension], recipe: Recipe) -> tuple[Spec, ...]:
    chosen = whole.get(component)
    texts = chosen.values if isinstance(chosen, Choice) else (getattr(recipe, component),)
    if texts == (None,):
        raise UsageError(
            f"the recipe names no {component}, so its options are not known; name one in it, or "
            f"as an option, {component}=NAME."
        )
    return tuple(Spec.parse(text) for text in texts)


def _factory(component: str, spec: Spec, registry: Registry) -> Factory:
    if component not in OWN:
        return registry.factory(component, spec)
    if spec.name not in OWN[component]:
        raise unknown(component, spec.name, OWN[component])
    return OWN[component][spec.name]


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
    """The types of a union without None, which says "as suits" and is one of the others."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(part for part in parts if part is not type(None))


def _numeric(kind: Any) -> type | None:
    parts = _parts(kind)
    return float if float in parts else int if int in parts else None


def _every_value(kind: Any) -> tuple[str, ...]:
    """All values of a type that has few of them, else none."""
    found: list[str] = []
    for part in _parts(kind):
        if part is bool:
            found += ["true", "false"]
        elif get_origin(part) is Literal:
            found += map(str, get_args(part))
        else:
            return ()
    return tuple(found)
