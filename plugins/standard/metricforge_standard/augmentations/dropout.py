"""Vectors of which some numbers are lost."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import Draws
from metricforge_standard.augmentations._amounts import check_between


class Dropout:
    """Sets some numbers of each vector to 0, and divides the others by their fraction.

    Args:
        p: Fraction of numbers that are lost, 0 to 0.9.

    Reference: Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting,
    2014.
    """

    takes_vectors = True

    def __init__(self, *, p: float = 0.1) -> None:
        check_between("dropout", "p", p, 0, 0.9)
        self.p = p

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Vectors [B, V] to vectors of the same shape."""
        lost = draws.uniform(images.shape[1]) < self.p
        return torch.where(lost, 0.0, images / (1 - self.p))
