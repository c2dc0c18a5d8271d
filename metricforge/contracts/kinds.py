"""The kinds of components, their entry-point groups, and what their factories may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Protocol, TypeAlias, TypeVar

from metricforge.contracts.augmentation import Augmentation, TurningIntoClasses, Warping
from metricforge.contracts.hook import OnEnd, OnEpoch, OnStep
from metricforge.contracts.loss import Accepting, Counting, Loss, Predicting, WithMargin
from metricforge.contracts.miner import LeavingChoice, Miner
from metricforge.contracts.network import (
    Backbone,
    Head,
    Preprocessed,
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

A plugin says which it was written for: `METRICFORGE_API = 1` in the module that its entry point
names, or in a package around it. It is read from the source, before anything is imported.
"""

COMMANDS = "metricforge.commands"
"""The entry-point group of click commands that a plugin adds to `metricforge`."""

SEARCHES = "metricforge.searches"
"""The entry-point group of what chooses the options of a suite's trials.

A name is that of a class, made of a seed, with `ask()`, whose answer picks values as optuna's
trials do, and `tell(answer, score)`.
"""


@dataclass(frozen=True)
class Kind:
    """One group of components: its entry-point group and its contract.

    Args:
        name: The singular, "sampler".
        plural: The plural, "samplers", of which the entry-point group is made.
        offers: What a factory may ask for, the names of its ordinary parameters.
        required: The type of what the factory gives.
        optional: The types of what a component may have beside.
    """

    name: str
    plural: str
    offers: tuple[str, ...]
    required: type | None = None
    optional: tuple[type, ...] = ()

    @property
    def group(self) -> str:
        return f"metricforge.{self.plural}"

    @property
    def members(self) -> tuple[str, ...]:
        """The names that a component of this kind has or may have, calls aside."""
        types = (*(() if self.required is None else (self.required,)), *self.optional)
        return tuple(sorted({name for one in types for name in members_of(one)}))


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
        Kind("head", "heads", ("in_features", "dim", "build"), Head, (ScalingItself,)),
        Kind(
            "backbone",
            "backbones",
            ("in_channels", "image_size", "build"),
            Backbone,
            (Preprocessed, Rebuildable, Pretrained),
        ),
        Kind("dataset", "datasets", ("root", "build")),
        Kind(
            "augmentation",
            "augmentations",
            ("in_channels", "image_size", "build"),
            Augmentation,
            (Warping, TurningIntoClasses),
        ),
        Kind("protocol", "protocols", ("build",), EvaluationProtocol),
        Kind("hook", "hooks", ("folder", "step", "build"), None, (OnStep, OnEpoch, OnEnd)),
    )
}

INNER: Final = "the spec of a component of the same kind"
"""What marks the type of an option as a spec, in its annotation."""

InnerSpec: TypeAlias = Annotated[str, INNER]
"""The type of an option that is the spec of another component of the same kind, for `build`.

The record of a run then has the other's defaults written out as well.
"""

Made = TypeVar("Made", covariant=True)


class Build(Protocol[Made]):
    """Makes another component of the same kind, so that one can wrap another; ask for `build`.

    A sampler that wraps one takes `build: Build[Sampler]`.
    """

    def __call__(self, spec: str) -> Made:
        """A spec, "hard-triplet:per_class=4", to the component, which is offered the same."""
