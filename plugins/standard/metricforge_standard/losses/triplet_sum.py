"""What is summed up over triplets, before it becomes a mean."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class TripletSum:
    """The sum of a loss over triplets, how many are active, how many there are, the gradient.

    `loss` and `active` are 0-d tensors, float64 where there is that, `gradient` is [B, D].
    """

    loss: Tensor
    active: Tensor
    total: int
    gradient: Tensor
