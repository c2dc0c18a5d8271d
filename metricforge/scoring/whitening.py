"""Features made equal in all directions: a baseline that learns from them alone, without labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Whitening:
    """Principal components, each divided by its standard deviation (Jegou & Chum 2012).

    Args:
        centre: float64 [F], the mean of the features.
        axes: float64 [D, F], the components divided by their deviations.
    """

    centre: Tensor
    axes: Tensor

    @classmethod
    def of(cls, features: Tensor, dim: int) -> Whitening:
        """That of features [M, F], in `dim` dimensions or as many as they have.

        The last components of few features are noise: at most half of M are kept.
        """
        wide = features.double()
        centre = wide.mean(0)
        _, singular, axes = torch.linalg.svd(wide - centre, full_matrices=False)
        rank = int((singular > singular[0] * 1e-6).sum())
        count = max(1, min(dim, rank, len(features) // 2))
        if rank == 0:  # all features are equal
            return cls(centre, torch.zeros_like(axes[:1]))
        deviations = singular[:count, None] / max(len(features) - 1, 1) ** 0.5
        return cls(centre, axes[:count] / deviations)

    def __call__(self, features: Tensor) -> Tensor:
        """Whitened features, float32 [N, D]."""
        return ((features.double() - self.centre) @ self.axes.T).float()
