"""The contract of an augmentation, and its optional members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


class Draws(Protocol):
    """Random numbers for the B images of a batch, separate for each image.

    The numbers of an image depend on the seed, the epoch, the image and the number of calls before.
    They do not depend on the rest of the batch or on the device. All are on the device of the
    images.
    """

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high).

        Args:
            shape: Shape of the numbers of one image.
            low: Lower bound, included.
            high: Upper bound, excluded.

        Returns:
            float32 [B, *shape].
        """

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers of mean 0 and standard deviation 1.

        Args:
            shape: Shape of the numbers of one image.

        Returns:
            float32 [B, *shape].
        """

    def seeds(self) -> list[int]:
        """Seeds for code with a random generator of its own.

        Returns:
            B numbers of 62 bits.
        """


class Augmentation(Protocol):
    """Changes each image of a batch, in training only, by draws of its own and nothing else.

    The result for an image does not depend on the others of its batch. An augmentation that only
    moves pixels is :class:`Warping` in the place of this.
    """

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Change the images of a batch.

        Args:
            images: float32 [B, C, H, W], 0 to 255.
            draws: The random numbers of the images.

        Returns:
            float32 images of the same shape.
        """


@runtime_checkable
class Warping(Protocol):
    """An augmentation that only moves pixels; several in a row cost one interpolation."""

    def warp(self, grid: Tensor, draws: Draws) -> Tensor:
        """Map the position of each output pixel to the position in the image to sample from.

        A position is (x, y), from -1 at the left and upper edge to 1.

        Args:
            grid: float32 [B or 1, H, W, 2].
            draws: The random numbers of the images.

        Returns:
            float32 [B, H, W, 2].
        """


@runtime_checkable
class TakingVectors(Protocol):
    """A backbone or an augmentation for vectors, float32 [B, F], in place of images."""

    takes_vectors: bool


@runtime_checkable
class TurningIntoClasses(Protocol):
    """An augmentation whose images, turned by right angles, count as further classes."""

    orientations: Literal[4, 8]
    """4: turned; 8: mirrored, too."""
