"""Turned images as classes of their own."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from metricforge.contracts import Draws


class RotationsAsClasses:
    """Images turned by right angles count as further classes (Santoro 2016).

    For drawings of signs, of which a turned one is another sign. The sampler draws images from all
    views; this augmentation does not change them.

    Args:
        views: Classes made of each: 4, turned by 0, 90, 180 and 270 degrees, or 8, also mirrored.

    Reference: Santoro et al., Meta-Learning with Memory-Augmented Neural Networks, 2016.
    """

    def __init__(self, *, views: Literal[4, 8] = 4) -> None:
        self.orientations = views

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """The same images."""
        return images
