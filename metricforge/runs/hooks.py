"""The hooks of a run: called at its events, each blamed for its own errors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from metricforge.contracts import KINDS, Hook, OnEnd, OnEpoch, OnStep
from metricforge.errors import PluginError
from metricforge.plugin_errors import blaming
from metricforge.recipes.components import component
from metricforge.recipes.custom_object import Component, CustomObject
from metricforge.registry import Registry
from metricforge.runs.folder import RunFolder


class Hooks:
    """Passes the events of a training to the hooks that handle them."""

    def __init__(self, hooks: Sequence[Any], notes: Sequence[str] = ()) -> None:
        self._hooks, self.notes = hooks, notes

    @classmethod
    def of(
        cls, chosen: Sequence[Component], registry: Registry, folder: RunFolder, step: int
    ) -> Hooks:
        """Hooks from specs, classes or objects; PluginError for one that handles no event.

        A hook that was an object of the program that made the run is skipped, with a note: it does
        not affect the results.
        """
        offers = {"folder": folder.path, "step": step}
        hooks, notes = [], []
        for choice in chosen:
            if isinstance(choice, CustomObject) and choice.is_lost:
                notes.append(f"left out: the hook {choice}, which only its program has.")
                continue
            hook = component(registry, "hook", choice, offers)
            if not isinstance(hook, OnStep | OnEpoch | OnEnd):
                raise PluginError(
                    f"hook {choice} must have one of {', '.join(KINDS['hook'].members)}."
                )
            hooks.append(hook)
        return cls(hooks, notes)

    def step(self, record: Mapping[str, Any], embeddings: Tensor) -> None:
        """A step was done."""
        for hook in self._hooks:
            if isinstance(hook, OnStep):
                self._call(hook, hook.on_step, record, embeddings)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch was done."""
        for hook in self._hooks:
            if isinstance(hook, OnEpoch):
                self._call(hook, hook.on_epoch, record)

    def end(self) -> None:
        """The training is over."""
        for hook in self._hooks:
            if isinstance(hook, OnEnd):
                self._call(hook, hook.on_end)

    def _call(self, hook: Hook, member: Callable[..., None], *arguments: Any) -> None:
        with blaming(hook):
            # Copies: a hook's changes to them must reach neither the run nor other hooks.
            member(*copy.deepcopy(arguments))
