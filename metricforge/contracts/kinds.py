"""The kinds of components, their entry-point groups, and what their factories may require."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Final, Protocol, TypeAlias, TypeVar

from metricforge.contracts.adapter import Adapter, Merging, Rating
from metricforge.contracts.augmentation import (
    Augmentation,
    TakingVectors,
    TurningIntoClasses,
    Warping,
)
from metricforge.contracts.hook import OnEnd, OnEpoch, OnStep
from metricforge.contracts.learning import Reducing, Schedule
from metricforge.contracts.loss import Accepting, Counting, Loss, Predicting, WithMargin
from metricforge.contracts.miner import LeavingChoice, Miner
from metricforge.contracts.network import (
    Backbone,
    Head,
    Initializing,
    Preprocessed,
    Pretrainable,
    Pretrained,
    Rebuildable,
    ScalingItself,
)
from metricforge.contracts.protocol import EvaluationProtocol
from metricforge.contracts.sampler import (
    Noting,
    Refreshing,
    Remembering,
    Sampler,
    Scheduled,
    SuggestingLoss,
)
from metricforge.contracts.state import Stateful

API_VERSION = 1
"""Raised when a plugin written for the previous version would break.

A plugin declares the version that it was written for: `METRICFORGE_API = 1` in the module that its
entry point names, or in a package around it. It is read from the source, before any import.
"""

COMMANDS = "metricforge.commands"
"""The entry-point group of click commands that a plugin adds to `metricforge`."""

SEARCHES = "metricforge.searches"
"""The entry-point group of searches, which choose the options of the trials of `tune` and suites.

An entry point names a class that is built from a seed. Its `ask()` returns a chooser, which picks
values as optuna's trials do; `tell(chooser, score)` reports the score.
"""


STARTING: Mapping[str, str] = {
    "weights": "File of weights (safetensors, or torch.save of a state_dict) or run to start from."
}
"""The option of every backbone and head that names the weights to start from."""


@dataclass(frozen=True)
class Kind:
    """One group of components: its entry-point group and its contract.

    Args:
        name: The singular, "sampler".
        plural: The plural, "samplers", of which the entry-point group is made.
        offers: Names of the ordinary parameters that a factory may have.
        required: The type of what the factory returns.
        optional: The types of further members that a component may have.
        common: Options that every component of the kind has, since the core itself takes them, with
            a sentence on each. A component's own option of the name takes the values of its type.
    """

    name: str
    plural: str
    offers: tuple[str, ...]
    required: type | None = None
    optional: tuple[type, ...] = ()
    common: Mapping[str, str] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The entry-point group, e.g. "metricforge.samplers"."""
        return f"metricforge.{self.plural}"

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The names that a component of this kind has or may have, without calls."""
        types = (*(() if self.required is None else (self.required,)), *self.optional)
        return tuple(sorted({name for contract in types for name in members_of(contract)}))


def members_of(contract: type) -> set[str]:
    """The public members that a type of the contract declares."""
    declared = {*vars(contract), *vars(contract).get("__annotations__", {})}
    return {name for name in declared if not name.startswith("_")}


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "sampler",
            "samplers",
            ("labels", "groups", "build"),
            Sampler,
            (Refreshing, Remembering, Scheduled, SuggestingLoss, Noting, Stateful),
        ),
        Kind("miner", "miners", ("margin", "build"), Miner, (LeavingChoice, Stateful)),
        Kind(
            "loss",
            "losses",
            ("dim", "num_classes", "build"),
            Loss,
            (Accepting, Counting, WithMargin, Predicting, Stateful),
        ),
        Kind(
            "head",
            "heads",
            ("in_features", "dim", "build"),
            Head,
            (ScalingItself, Initializing),
            STARTING,
        ),
        Kind(
            "backbone",
            "backbones",
            ("in_channels", "image_size", "in_features", "build"),
            Backbone,
            (Preprocessed, Rebuildable, Pretrained, Pretrainable, TakingVectors),
            STARTING,
        ),
        Kind("adapter", "adapters", ("build",), Adapter, (Rating, Merging)),
        Kind("dataset", "datasets", ("root", "build")),
        Kind(
            "augmentation",
            "augmentations",
            ("in_channels", "image_size", "in_features", "build"),
            Augmentation,
            (Warping, TurningIntoClasses, TakingVectors),
        ),
        Kind("optimizer", "optimizers", ("params", "build")),
        Kind("schedule", "schedules", ("build",), Schedule, (Reducing,)),
        Kind("protocol", "protocols", ("build",), EvaluationProtocol),
        Kind("hook", "hooks", ("folder", "step", "build"), None, (OnStep, OnEpoch, OnEnd)),
    )
}

INNER: Final = "the spec of a component of the same kind"
"""The mark of an option's type as a spec, in its annotation."""

InnerSpec: TypeAlias = Annotated[str, INNER]
"""The type of an option that is the spec of another component of the same kind, for `build`.

The record of a run then contains the other's defaults as well.
"""

Made = TypeVar("Made", covariant=True)


class Build(Protocol[Made]):
    """Makes another component of the same kind, so that one can wrap another.

    A factory gets it as its parameter `build`, e.g. `build: Build[Sampler]` in a sampler that wraps
    one.
    """

    def __call__(self, spec: str, **offers: Any) -> Made:
        """Build a component.

        Args:
            spec: E.g. "hard-triplet:per_class=4".
            offers: What the component gets in place of this one's, e.g. dim=32.

        Returns:
            The component, built with the same offers otherwise.
        """
