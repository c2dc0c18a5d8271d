"""The head `residual-mlp`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from metricforge.errors import UsageError
from metricforge_standard.heads.linear import Linear


class ResidualMLP(nn.Module):
    """A linear layer to the embedding, and a hidden layer that adds to it.

    Features [B, F] to [B, D]. The hidden layer gets the features by layer norm, and adds nothing at
    the start: the head then is the head `linear` with the same options.

    Args:
        in_features: F, the features of the backbone.
        dim: D, the dimensions of the embedding.
        hidden: Width of the hidden layer, in features; none: F.
        dropout: Fraction of hidden features that are dropped in training, 0 to 1.
        normalize: As of `linear`.
        start: As of `linear`.
        whiten: As of `linear`.

    Reference: He et al., Deep Residual Learning for Image Recognition, 2016.
    """

    def __init__(
        self,
        in_features: int,
        dim: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
        normalize: bool | None = None,
        start: Literal["random", "pca"] = "pca",
        whiten: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UsageError(f"head 'residual-mlp' needs dropout from 0 to below 1, not {dropout}.")
        width = in_features if hidden is None else hidden
        if width < 1:
            raise UsageError(f"head 'residual-mlp' needs hidden of 1 or more, not {hidden}.")
        self.linear = Linear(in_features, dim, normalize=normalize, start=start, whiten=whiten)
        self.unit_length, self.wants_features = self.linear.unit_length, self.linear.wants_features
        self.residual = nn.Sequential(
            nn.LayerNorm(in_features),
            nn.Linear(in_features, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, dim),
        )
        last = self.residual[-1]
        assert isinstance(last, nn.Linear), "it is the last layer"
        with torch.no_grad():
            last.weight.zero_()
            last.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        embedding: Tensor = self.linear(features) + self.residual(features)
        return embedding

    def initialize(self, features: Tensor) -> None:
        """As of the head `linear`.

        Args:
            features: float32 [M, F], of training images.
        """
        self.linear.initialize(features)
