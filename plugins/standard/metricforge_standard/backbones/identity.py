"""The backbone `identity`."""

from __future__ import annotations

from torch import Tensor, nn


class Identity(nn.Module):
    """Passes vectors on as they are, float32 [B, F]: the head alone learns.

    Args:
        in_features: F, the length of a vector.
    """

    takes_vectors = True

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.out_features = in_features

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors
