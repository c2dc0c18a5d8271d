"""What backbones and heads are, and what they may have beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """What a backbone wants to be given; what it leaves None, the core decides.

    - `size`: height and width that the core resizes images to, on the device. Default: as they are.
    - `mean` and `std` of each channel, pixels being 0 to 1. Default: those of the train set.
    - `interpolation` of the resizing, antialiased.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


class Head(Protocol):
    """An `nn.Module` from features to the embedding, which the core scales to unit length."""

    def __call__(self, features: Tensor) -> Tensor:
        """Features [B, F] to [B, D]; in evaluation each row depends on its own image alone."""


@runtime_checkable
class ScalingItself(Protocol):
    """A head that says whether the core scales its embeddings to unit length."""

    unit_length: bool


class Backbone(Protocol):
    """An `nn.Module` from images to features."""

    @property
    def out_features(self) -> int: ...

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised images [B, C, H, W] to [B, F]; in evaluation each row by its image alone."""


@runtime_checkable
class Preprocessed(Protocol):
    """A backbone that was trained on images of a certain size, mean and deviation."""

    preprocessing: Preprocessing


@runtime_checkable
class Rebuildable(Protocol):
    """A backbone that fetches weights when it is built, and need not when its model is loaded."""

    rebuild: str
    """The spec that makes the same network without fetching weights."""


@runtime_checkable
class Pretrained(Protocol):
    """A backbone that may start from learned weights: its own features then are the baseline."""

    pretrained: bool
