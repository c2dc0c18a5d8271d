"""The head `mlp`."""

from __future__ import annotations

from torch import Tensor, nn

from metricforge.errors import UsageError


class MLP(nn.Module):
    """A hidden layer with ReLU, then a linear layer to the embedding.

    Features [B, F] to [B, D].

    Args:
        in_features: F, the features of the backbone.
        dim: D, the dimensions of the embedding.
        hidden: Width of the hidden layer, in features; none: F.
        normalize: Whether embeddings are scaled to unit length; none: from three dimensions up.
    """

    def __init__(
        self,
        in_features: int,
        dim: int,
        *,
        hidden: int | None = None,
        normalize: bool | None = None,
    ) -> None:
        super().__init__()
        width = in_features if hidden is None else hidden
        if width < 1:
            raise UsageError(f"head 'mlp' needs hidden of 1 or more, not {hidden}.")
        self.unit_length = dim > 2 if normalize is None else normalize
        self.layers = nn.Sequential(nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, dim))

    def forward(self, features: Tensor) -> Tensor:
        embedding: Tensor = self.layers(features)
        return embedding
