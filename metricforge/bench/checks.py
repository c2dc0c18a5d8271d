"""What a suite names, looked up before hours of training and not after them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from metricforge.bench.suite import Approach, Elsewhere, Suite
from metricforge.errors import MetricForgeError, UsageError
from metricforge.registry import Registry
from metricforge.runs.components import make_protocol
from metricforge.runs.recipe import KINDS, LISTS, Recipe
from metricforge.spec import Spec, bind


def check_names(suite: Suite, approaches: Sequence[Approach]) -> None:
    """UsageError for what names no component, or gives one an option that it does not have.

    Whether components fit one another is for each run to find out, and so is a plugin that fails.
    """
    registry = Registry.installed()
    _check_elsewhere(registry, suite.elsewhere)
    named = (pair for approach in approaches for pair in _named(suite, approach))
    for kind, text in dict.fromkeys(named):
        try:
            registry.complete(kind, Spec.parse(text))
        except UsageError as error:
            raise UsageError(f"suite '{suite.name}': {error}") from error
        except MetricForgeError:
            continue


def _named(suite: Suite, approach: Approach) -> Iterator[tuple[str, str]]:
    """The specs of an approach, each with its kind."""
    recipe = Recipe.from_values({**suite.base, **approach.options}, suite.name)
    kinds = {**{kind: kind for kind in KINDS}, **LISTS, "protocols": "protocol"}
    for option, kind in (*kinds.items(), ("validation", "protocol")):
        for text in _each(getattr(recipe, option)):
            yield kind, text


def _each(value: str | Iterable[str] | None) -> Iterable[str]:
    return [value] if isinstance(value, str) else value or []


def _check_elsewhere(registry: Registry, elsewhere: Sequence[Elsewhere]) -> None:
    for other in elsewhere:
        spec = Spec.parse(other.dataset)
        bind(registry.factory("dataset", spec), spec, f"dataset '{spec.name}'")
        for protocol in other.protocols:
            make_protocol(registry, protocol)
