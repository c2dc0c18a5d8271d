"""What an augmentation is, and what it may have beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


class Draws(Protocol):
    """Random numbers for the B images of a batch, each image its own.

    What an image is given depends on the seed, the epoch, the image and the number of calls
    before; not on the batch around it, nor on the device. All are on the device of the images.
    """

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 [B, *shape], evenly in [low, high)."""

    def normal(self, *shape: int) -> Tensor:
        """float32 [B, *shape] of mean 0 and deviation 1."""

    def seeds(self) -> list[int]:
        """B numbers of 62 bits, for what has a random generator of its own."""


class Augmentation(Protocol):
    """Changes each image of a batch, in training only, by draws of its own and nothing else.

    What an image becomes does not depend on the others of its batch. An augmentation that only
    moves pixels is :class:`Warping` in the place of this.
    """

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """float32 images [B, C, H, W] in 0 .. 255 to images of the same shape."""


@runtime_checkable
class Warping(Protocol):
    """An augmentation that only moves pixels; several in a row cost one interpolation."""

    def warp(self, grid: Tensor, draws: Draws) -> Tensor:
        """float32 places [B or 1, H, W, 2] to look at, to others [B, H, W, 2].

        A place is (x, y), from -1 at the left and upper edge to 1.
        """


@runtime_checkable
class TurningIntoClasses(Protocol):
    """An augmentation whose images, turned by right angles, count as further classes."""

    orientations: Literal[4, 8]
    """4: turned; 8: mirrored, too."""
