"""What one component is: its options, its text, where it is written, a command to try it with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from metricforge.contracts import Pairs, Triplets
from metricforge.installed import COMMAND
from metricforge.registry import Entry, Registry, load
from metricforge.spec import Factory, Option, Spec, asks_of, options_of

# The default sampler gives triplets and suggests a loss for them; for others, these suit.
SAMPLER_FOR: Mapping[Any, str] = {Pairs: "random-pairs", None: "balanced"}
LOSS_FOR: Mapping[Any, str] = {Pairs: "contrastive", None: "pml.SupConLoss"}


@dataclass(frozen=True)
class Description:
    """One component, or a family of them (`members` then has their names)."""

    entry: Entry
    name: str
    doc: str
    asks: tuple[str, ...]
    options: Mapping[str, Option]
    members: tuple[str, ...]
    file: str | None
    line: int | None
    example: str | None


def describe(registry: Registry, kind: str, spec: Spec) -> Description:
    """The component that `spec` names, imported; no other is.

    Raises UsageError with the nearest name, PluginError when it can't be imported.
    """
    entry = _entry(registry, kind, spec)
    loaded = load(entry)
    if entry.family and spec.name in (entry.name, entry.shown):
        members = tuple(loaded) if isinstance(loaded, Mapping) else ()
        return Description(entry, entry.shown, entry.summary(), (), {}, members, None, None, None)
    if kind == COMMAND:
        doc = inspect.cleandoc(getattr(loaded, "help", None) or "")
        file, line = _place(getattr(loaded, "callback", loaded))
        example = f"metricforge {spec.name} --help"
        return Description(entry, spec.name, doc, (), {}, (), file, line, example)
    factory = registry.factory(kind, spec)
    options = options_of(factory)
    file, line = _place(factory)
    return Description(
        entry=entry,
        name=spec.name,
        doc=inspect.getdoc(factory) or "",
        asks=asks_of(factory),
        options=options,
        members=(),
        file=file,
        line=line,
        example=f"metricforge train {_example(factory, kind, _with_required(spec, options))}",
    )


def _entry(registry: Registry, kind: str, spec: Spec) -> Entry:
    for entry in registry.entries(kind):
        if entry.family and spec.name in (entry.name, entry.shown):
            return entry
    return registry.find(kind, spec)


def _place(thing: Any) -> tuple[str | None, int | None]:
    """The file and the line where it is written; None where there is no source."""
    while isinstance(thing, partial):
        thing = thing.func
    thing = inspect.unwrap(thing)
    try:
        return inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return None, None


def _with_required(spec: Spec, options: Mapping[str, Option]) -> str:
    needed = {name: name.upper() for name, option in options.items() if option.required}
    return str(Spec(spec.name, needed, spec.distribution))


def _example(factory: Factory, kind: str, spec: str) -> str:
    """The words of `metricforge train` that use the component and what must go with it."""
    if kind == "miner":
        loss = LOSS_FOR.get(getattr(factory, "kind", Triplets))
        return f"--miner {spec} --loss {loss}" if loss else f"--miner {spec}"
    if kind == "loss":
        accepted = getattr(factory, "accepts", None) or (Triplets,)
        sampler = None if Triplets in accepted else SAMPLER_FOR.get(accepted[0])
        return f"--sampler {sampler} --loss {spec}" if sampler else f"--loss {spec}"
    return f"--{kind} {spec}"
