"""Vectors with noise."""

from __future__ import annotations

from torch import Tensor

from metricforge.contracts import Draws
from metricforge_standard.augmentations._amounts import check_between


class Noise:
    """Adds normal noise to each number of a vector.

    Args:
        amount: Length of the noise, as a fraction of the length of its vector, 0 to 10.
    """

    takes_vectors = True

    def __init__(self, *, amount: float = 0.1) -> None:
        check_between("noise", "amount", amount, 0, 10)
        self.amount = amount

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Vectors [B, V] to vectors of the same shape."""
        length = images.shape[1]
        # The squares of very short or long vectors are beyond float32.
        largest = images.abs().amax(dim=1, keepdim=True).clamp(min=1e-37)
        norms = (images / largest).norm(dim=1, keepdim=True) * largest
        deviation = norms * (self.amount / length**0.5)
        noise: Tensor = deviation * draws.normal(length)
        return images + noise
