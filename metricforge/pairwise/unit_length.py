"""Embeddings of unit length, with gradients that stay bounded at zero."""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST = 1e-6
"""Rows that are shorter have no direction: they stay as they are."""


def unit_rows(rows: Tensor) -> Tensor:
    """Scale rows to unit length.

    A row that is shorter than SHORTEST stays as it is, and its gradient is that of its result. To
    divide it by its length, or by a tiny number in its place, would make a gradient of any size.

    Args:
        rows: [B, D], of float32 or float64.

    Returns:
        [B, D].
    """
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(length > SHORTEST, length, 1)
