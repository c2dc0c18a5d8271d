"""The hooks of a run: told of what happens, each to be blamed for what it does."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from metricforge.errors import PluginError
from metricforge.plugin_errors import blaming
from metricforge.recipes.components import component
from metricforge.recipes.recipe import Component, Given
from metricforge.registry import Registry
from metricforge.runs.folder import RunFolder

MEMBERS = ("on_step", "on_epoch", "on_end")


class Hooks:
    """Hands on what a training tells, to those who listen to that."""

    def __init__(self, hooks: Sequence[Any], notes: Sequence[str] = ()) -> None:
        self._hooks, self.notes = hooks, notes

    @classmethod
    def of(
        cls, chosen: Sequence[Component], registry: Registry, folder: RunFolder, step: int
    ) -> Hooks:
        """Hooks from specs, classes or objects; PluginError for one that listens to nothing.

        One that only a record names, an object of the program that made the run, is left out,
        and `notes` say so: it has no share in what the run finds.
        """
        offers = {"folder": folder.path, "step": step}
        gone = [one for one in chosen if isinstance(one, Given) and one.value is None]
        there = [one for one in chosen if one not in gone]
        hooks = [component(registry, "hook", one, offers) for one in there]
        for hook, one in zip(hooks, there, strict=True):
            if not any(callable(getattr(hook, member, None)) for member in MEMBERS):
                raise PluginError(f"hook {one} must have one of {', '.join(MEMBERS)}.")
        return cls(
            hooks, [f"left out: the hook {one}, which only its program has." for one in gone]
        )

    def step(self, record: Mapping[str, Any], embeddings: Tensor) -> None:
        """A step was done."""
        self._tell("on_step", record, embeddings)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch was done."""
        self._tell("on_epoch", record)

    def end(self) -> None:
        """The training is over."""
        self._tell("on_end")

    def _tell(self, member: str, *told: Any) -> None:
        for hook in self._hooks:
            if listens := getattr(hook, member, None):
                with blaming(hook):
                    # Copies: what it does to them must reach neither the run nor other hooks.
                    listens(*copy.deepcopy(told))
