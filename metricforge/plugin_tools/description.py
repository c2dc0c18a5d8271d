"""The description of a component: options, docstring, source file, a command to try it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from metricforge.contracts import KINDS, InnerSpec, Pairs, Triplets
from metricforge.entry_points import COMMAND, SEARCH
from metricforge.errors import MetricForgeError, PluginError
from metricforge.registry import Entry, Registry, load
from metricforge.spec import Factory, Option, Spec, asks_of, further_of, options_of

# The default sampler gives triplets and suggests a loss for them; for others, these suit.
SAMPLER_FOR: Mapping[Any, str] = {Pairs: "random-pairs", None: "balanced"}
# What a component for vectors is tried on.
VECTORS = "features.npz"
LOSS_FOR: Mapping[Any, str] = {Pairs: "contrastive", None: "pml.SupConLoss"}
# Offers for a component that must be built to get its `kind` or `accepts`.
OFFERS: Mapping[str, Any] = {"margin": 0.2, "dim": 64, "num_classes": 10}


@dataclass(frozen=True)
class Description:
    """One component, or a family of them (`members` then has their names).

    `fault` says why it can't be used; the other fields are then as far as known.
    """

    entry: Entry
    name: str
    doc: str
    asks: tuple[str, ...]
    options: Mapping[str, Option]
    members: tuple[str, ...]
    file: str | None
    line: int | None
    example: str | None
    fault: str = ""


def describe(registry: Registry, kind: str, spec: Spec) -> Description:
    """The component that `spec` names; only that one is imported.

    Raises UsageError with the nearest name, PluginError if it can't be imported.
    """
    entry = _entry(registry, kind, spec)
    loaded = load(entry)
    if entry.family and spec.name in (entry.name, entry.shown):
        members = tuple(loaded) if isinstance(loaded, Mapping) else ()
        return Description(entry, entry.shown, entry.summary(), (), {}, members, None, None, None)
    if kind == COMMAND:
        doc = inspect.cleandoc(getattr(loaded, "help", None) or "")
        file, line = _source_of(getattr(loaded, "callback", loaded))
        example = f"metricforge {spec.name} --help"
        return Description(entry, spec.name, doc, (), {}, (), file, line, example)
    if kind == SEARCH:
        doc = inspect.getdoc(loaded) or ""
        file, line = _source_of(loaded)
        example = f"metricforge tune RECIPE --option dim=32,64 --search {spec.name}"
        return Description(entry, spec.name, doc, (), options_of(loaded), (), file, line, example)
    if fault := _fault(registry, kind, spec):
        file, line = _source_of(loaded)
        doc = inspect.getdoc(loaded) or ""
        return Description(entry, spec.name, doc, (), {}, (), file, line, None, fault)
    factory = registry.factory(kind, spec)
    options, further = options_of(factory), further_of(factory)
    if further:
        # Under its parameter's name, which no option has; users may write any name.
        options |= {further.name: replace(further, name="NAME")}
    for option, sentence in KINDS[kind].common.items():
        options.setdefault(option, Option(option, str | None, None, sentence))
    full = Spec(spec.name, _required(options), spec.distribution)
    file, line = _source_of(factory)
    return Description(
        entry=entry,
        name=spec.name,
        doc=inspect.getdoc(factory) or "",
        asks=asks_of(factory),
        options=options,
        members=(),
        file=file,
        line=line,
        example=f"metricforge train {_example(registry, factory, kind, full)}",
    )


def _fault(registry: Registry, kind: str, spec: Spec) -> str:
    """Why no component can be made by this name, e.g. an option of no type; "" if it can."""
    try:
        options_of(registry.factory(kind, spec))
    except PluginError as error:
        return str(error)
    return ""


def _entry(registry: Registry, kind: str, spec: Spec) -> Entry:
    family = spec.name.removesuffix("NAME")
    name = family if family.endswith(".") else spec.name
    return registry.find(kind, Spec(name, distribution=spec.distribution))


def _source_of(thing: Any) -> tuple[str | None, int | None]:
    """The file and the line of its source; None if there is none."""
    while isinstance(thing, partial):
        thing = thing.func
    thing = inspect.unwrap(thing)
    try:
        return inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return None, None


def _required(options: Mapping[str, Option]) -> dict[str, str]:
    needed = [option for option in options.values() if option.required]
    return {o.name: "SPEC" if o.type == InnerSpec else o.name.upper() for o in needed}


def _example(registry: Registry, factory: Factory, kind: str, spec: Spec) -> str:
    """The options of `metricforge train` that use the component and those it needs."""
    if kind == "miner":
        loss = LOSS_FOR.get(_declared(registry, factory, kind, spec, "kind"))
        return f"--miner {spec} --loss {loss}" if loss else f"--miner {spec}"
    if kind == "loss":
        accepted = _declared(registry, factory, kind, spec, "accepts") or (Triplets,)
        sampler = None if Triplets in accepted else SAMPLER_FOR.get(accepted[0])
        return f"--sampler {sampler} --loss {spec}" if sampler else f"--loss {spec}"
    data = f" --dataset {VECTORS}" if getattr(factory, "takes_vectors", False) is True else ""
    return f"--{'augment' if kind == 'augmentation' else kind} {spec}{data}"


def _declared(registry: Registry, factory: Factory, kind: str, spec: Spec, name: str) -> Any:
    """An attribute of a component: of its class, or else of an instance."""
    value = getattr(factory, name, factory)
    if value is not factory and not isinstance(value, property):
        return value
    try:
        return getattr(registry.build(kind, spec, OFFERS), name, Triplets if name == "kind" else ())
    except MetricForgeError:  # it requires options that only a user knows
        return Triplets if name == "kind" else ()
