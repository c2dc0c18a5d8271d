"""The head `linear`."""

from __future__ import annotations

from torch import Tensor, nn


class Linear(nn.Module):
    """One linear layer to the embedding.

    Features [B, F] to [B, D]. The embedding is scaled to unit length unless
    `normalize=false`; `normalize=none`, the default, does so from three dimensions up, since
    on a circle there is too little room for more than a few classes.
    """

    def __init__(self, in_features: int, dim: int, *, normalize: bool | None = None) -> None:
        super().__init__()
        self.unit_length = dim > 2 if normalize is None else normalize
        self.project = nn.Linear(in_features, dim)

    def forward(self, features: Tensor) -> Tensor:
        embedding: Tensor = self.project(features)
        return embedding
