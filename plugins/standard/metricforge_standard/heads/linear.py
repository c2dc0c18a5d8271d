"""The head `linear`."""

from __future__ import annotations

from torch import Tensor, nn


class Linear(nn.Module):
    """One linear layer to the embedding.

    Features [B, F] to [B, D]. By default embeddings of three or more dimensions are scaled to unit
    length; a circle has too little room for more than a few classes.

    Args:
        in_features: F, the features of the backbone.
        dim: D, the dimensions of the embedding.
        normalize: Whether embeddings are scaled to unit length; none: from three dimensions up.
    """

    def __init__(self, in_features: int, dim: int, *, normalize: bool | None = None) -> None:
        super().__init__()
        self.unit_length = dim > 2 if normalize is None else normalize
        self.project = nn.Linear(in_features, dim)

    def forward(self, features: Tensor) -> Tensor:
        embedding: Tensor = self.project(features)
        return embedding
