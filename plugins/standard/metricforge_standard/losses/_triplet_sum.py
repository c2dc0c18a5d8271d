"""The sum of the triplet loss, and its comparison of the two distances of a triplet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Scale = Literal["distance", "squared", "log"]

# Added to the squared distance before the logarithm: a hundredth of the radius, squared. It bounds
# the gradient where two images coincide.
FLOOR = 1e-4


@dataclass
class TripletSum:
    """The sum of a loss over triplets, the active ones, their total number, the gradient.

    `loss` and `active` are 0-d tensors, float64 if the device has it; `gradient` is [B, D].
    """

    loss: Tensor
    active: Tensor
    total: int
    gradient: Tensor


@dataclass(frozen=True)
class Comparison:
    """A triplet's violation v = f(d(a, p)) - f(d(a, n)) + margin, and its cost.

    `scale` is f: the distance, its square, or log(d^2 + 1e-4) / 2, which is the logarithm down to
    d = 0.01. The cost is the hinge max(0, v), or soft * log(1 + exp(v / soft)).
    """

    margin: float
    soft: float | None = None
    scale: Scale = "distance"

    def scaled(self, distances: Tensor) -> Tensor:
        """f of distances of any shape."""
        if self.scale == "squared":
            return distances.square()
        if self.scale == "log":
            return distances.square().add_(FLOOR).log_().div_(2)
        return distances

    def scale_squares_(self, squares: Tensor) -> Tensor:
        """f of squared distances, in place."""
        if self.scale == "squared":
            return squares
        if self.scale == "log":
            return squares.add_(FLOOR).log_().div_(2)
        return squares.sqrt_()

    def unscale_(self, slopes: Tensor, values: Tensor) -> None:
        """Turn slopes by f into slopes by the distance, in place; overwrites `values`."""
        if self.scale == "distance":
            return
        if self.scale == "log":
            # f'(d) = d / (d^2 + floor), and 2 f(d) is the logarithm of the denominator.
            squares = values.mul_(2).exp_()
            slopes.div_(squares)
            squares.sub_(FLOOR).clamp_(min=0)
        slopes.mul_(values.sqrt_())
        if self.scale == "squared":
            slopes.mul_(2)

    def pull(self, slopes: Tensor, distances: Tensor) -> Tensor:
        """f'(d) / d times slopes by f: the factor of the difference of two embeddings."""
        if self.scale == "squared":
            return 2 * slopes
        if self.scale == "log":
            return slopes / (distances.square() + FLOOR)
        # The difference of equal rows is zero: so is the gradient, not NaN. The square of a
        # smaller distance underflows.
        return slopes / distances.clamp(min=torch.finfo(distances.dtype).tiny ** 0.5)

    def cost(self, violation: Tensor) -> tuple[Tensor, Tensor]:
        """The cost of each violation and its slope, of the same shape."""
        if self.soft is None:
            return violation.clamp(min=0), (violation > 0).to(violation.dtype)
        scaled = violation / self.soft
        return F.softplus(scaled) * self.soft, scaled.sigmoid()
