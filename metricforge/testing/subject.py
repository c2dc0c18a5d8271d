"""The component under test, built as the core builds it, as often as checks require."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from metricforge.contracts import KINDS
from metricforge.errors import MetricForgeError, UnfitError
from metricforge.member_names import refuse_misnamed
from metricforge.plugin_errors import blame_of
from metricforge.registry import Registry
from metricforge.spec import Factory, Spec, asks_of, bind, options_of
from metricforge.testing.checks import Broken, raised, refusal


@dataclass
class Subject:
    """A factory with its options; `fixed` are the offers that are the same for each build.

    `cache` is for objects that are slow to build, of the checks of one kind.
    """

    kind: str
    name: str
    factory: Factory
    options: Mapping[str, Any]
    registry: Registry
    fixed: Mapping[str, Any] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict)

    def build(self, **offers: Any) -> Any:
        """A fresh component, from the offers that its ordinary parameters require.

        Raises UnfitError for one that the core would offer elsewhere, and not here.
        """
        offers = {**self.fixed, **offers}
        offers = {**offers, "build": self.registry.builder(self.kind, offers)}
        if lacking := [name for name in asks_of(self.factory) if name not in offers]:
            raise UnfitError(f"it requires {lacking[0]}.")
        arguments = {name: offers[name] for name in asks_of(self.factory)}
        made = self.factory(**arguments, **self.options)
        refuse_misnamed(self.kind, made, blame_of(made))
        return made


def find(
    kind: str,
    component: Any,
    registry: Registry,
    options: Mapping[str, Any],
    fixed: Mapping[str, Any],
) -> Subject:
    """The subject that a factory or a spec names; Broken has the reason if there is none."""
    if isinstance(component, str):
        name, factory, options = _from_spec(kind, component, registry, options)
    else:
        name, factory = getattr(component, "__name__", type(component).__name__), component
        _check_signature(kind, factory)
    return Subject(kind, name, factory, options, registry, fixed)


def _from_spec(
    kind: str, text: str, registry: Registry, options: Mapping[str, Any]
) -> tuple[str, Factory, Mapping[str, Any]]:
    try:
        spec = Spec.parse(text)
        factory = registry.factory(kind, spec)
        # Keyword options override those in the spec.
        left = {key: value for key, value in spec.options.items() if key not in options}
        written = {key: _written(value) for key, value in options.items()}
        what = f"{kind} '{spec.name}'"
        return text, factory, bind(factory, Spec(spec.name, left | written), what)
    except MetricForgeError as error:
        raise Broken(refusal(error)) from error


def _check_signature(kind: str, factory: Factory) -> None:
    """Broken for parameters that the core does not offer, and options that a spec can't write."""
    if not callable(factory):
        raise Broken(f"is a {type(factory).__name__}; give a class or a function that makes one.")
    if not isinstance(factory, type | partial) and not inspect.isroutine(factory):
        made = type(factory).__name__
        raise Broken(f"is a finished {made}; give the class, check_{kind}({made}), or a function.")
    offers = KINDS[kind].offers
    try:
        foreign = [name for name in asks_of(factory) if name not in offers]
        options_of(factory)
    except MetricForgeError as error:
        raise Broken(refusal(error)) from error
    except (ValueError, TypeError) as error:
        raise Broken(f"{raised(error)}; its signature must be readable.") from error
    if foreign:
        raise Broken(
            f"requires '{foreign[0]}', which the core offers to no {kind}; it offers "
            f"{', '.join(offers)}. Options are keyword-only: put them behind a *."
        )


def _written(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
