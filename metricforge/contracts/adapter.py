"""The contract of an adapter, and its optional members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class Adapter(Protocol):
    """Decides which weights of a backbone learn, or adds some that do."""

    def adapt(self, backbone: nn.Module) -> None:
        """Change a backbone in place, after its weights are loaded and before it is trained.

        Weights that don't learn get `requires_grad_(False)`; the optimizer has no state of them.
        What is added must not change the features.

        Args:
            backbone: The backbone.
        """


@runtime_checkable
class Rating(Protocol):
    """An adapter that gives weights learning rates of their own."""

    def rates(self, backbone: nn.Module) -> Mapping[str, float]:
        """The factors on the learning rate.

        Args:
            backbone: The backbone, adapted.

        Returns:
            Factors above 0 by the name of the parameter; 1 for those that are not among them.
        """


@runtime_checkable
class Merging(Protocol):
    """An adapter that adds weights, and can fold them into those of the backbone."""

    def merge(self, backbone: nn.Module) -> None:
        """Make a backbone of this adapter a plain one again, with the same features.

        Args:
            backbone: The backbone, adapted; changed in place.
        """
