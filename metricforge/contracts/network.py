"""The contracts of backbones and heads, and their optional members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """The input that a backbone requires; the core decides what is None.

    Args:
        size: Height and width to which the core resizes images, on the device. Default: no resize.
        mean: Mean of each channel, for pixels of 0 to 1. Default: that of the train set.
        std: Standard deviation of each channel, likewise.
        interpolation: Method of the resizing, antialiased.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


class Head(Protocol):
    """An `nn.Module` from features to the embedding, which the core scales to unit length."""

    def __call__(self, features: Tensor) -> Tensor:
        """Map features to embeddings.

        Args:
            features: [B, F].

        Returns:
            [B, D]; in evaluation each row depends on its own image alone.
        """


@runtime_checkable
class ScalingItself(Protocol):
    """A head that declares whether the core scales its embeddings to unit length."""

    unit_length: bool


@runtime_checkable
class Initializing(Protocol):
    """A head whose first weights depend on the features of the training images."""

    wants_features: bool
    """Whether the core is to call `initialize`."""

    def initialize(self, features: Tensor) -> None:
        """Set the first weights; called once, before training.

        Args:
            features: float32 [M, F] on the CPU, of training images without augmentation.
        """


class Backbone(Protocol):
    """An `nn.Module` from images to features."""

    @property
    def out_features(self) -> int:
        """F, the number of features."""

    def __call__(self, images: Tensor) -> Tensor:
        """Map images to features.

        Args:
            images: Normalised, [B, C, H, W].

        Returns:
            [B, F]; in evaluation each row depends on its own image alone.
        """


@runtime_checkable
class Preprocessed(Protocol):
    """A backbone that was trained on images of a certain size, mean and standard deviation."""

    preprocessing: Preprocessing


@runtime_checkable
class Rebuildable(Protocol):
    """A backbone that downloads weights when it is built, and need not when its model is loaded."""

    rebuild: str
    """The spec that makes the same network without fetching weights."""


@runtime_checkable
class Pretrained(Protocol):
    """A backbone that may start from learned weights: its own features then are the baseline."""

    pretrained: bool
    """Whether it does; the core sets it when it loads weights that the user names."""


@runtime_checkable
class Pretrainable(Protocol):
    """A backbone whose published weights were trained with a certain mean and deviation."""

    pretrained_preprocessing: Preprocessing
    """Replaces `preprocessing` when the core loads weights from a file of the user's.

    Its size is only that to which image files are decoded by default.
    """
