"""Turned images as classes of their own."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from metricforge.contracts import Draws


class RotationsAsClasses:
    """Images turned by right angles count as further classes (Santoro 2016).

    With `views=4` each class becomes four, turned by 0, 90, 180 and 270 degrees; with 8 also
    mirrored. For drawings of signs, of which a turned one is another sign. The images themselves
    are drawn from all views by the sampler, and stay as they are here.
    """

    def __init__(self, *, views: Literal[4, 8] = 4) -> None:
        self.orientations = views

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """The same images."""
        return images
