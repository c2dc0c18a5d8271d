"""The head `linear`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from metricforge.errors import UsageError


class Linear(nn.Module):
    """One linear layer to the embedding.

    Features [B, F] to [B, D]. By default embeddings of three or more dimensions are scaled to unit
    length; a circle has too little room for more than a few classes.

    With `start=pca` the layer begins as the principal components of the features of the training
    images, so that the first embeddings are about as good as the features of a pretrained backbone.

    Args:
        in_features: F, the features of the backbone.
        dim: D, the dimensions of the embedding.
        normalize: Whether embeddings are scaled to unit length; none: from three dimensions up.
        start: The weights at the start: random, or the principal components of the features.
        whiten: With `start=pca`, how far components are made equal: each is divided by its standard
            deviation to this power, 0 to 1. 0 keeps the distances of features, 1 whitens.

    Reference: Jegou & Chum, Negative Evidences and Co-occurrences in Image Retrieval, 2012.
    """

    def __init__(
        self,
        in_features: int,
        dim: int,
        *,
        normalize: bool | None = None,
        start: Literal["random", "pca"] = "random",
        whiten: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 <= whiten <= 1:
            raise UsageError(f"head 'linear' needs whiten from 0 to 1, not {whiten}.")
        self.unit_length = dim > 2 if normalize is None else normalize
        self.project = nn.Linear(in_features, dim)
        self.wants_features = start == "pca"
        self._whiten = whiten

    def forward(self, features: Tensor) -> Tensor:
        embedding: Tensor = self.project(features)
        return embedding

    def initialize(self, features: Tensor) -> None:
        """Begin as the principal components of features, centred, of mean length 1.

        Dimensions beyond the rank of the features keep small random weights.

        Args:
            features: float32 [M, F], of training images.
        """
        weight, bias = self.project.weight, self.project.bias
        centre = features.double().mean(0)
        _, singular, axes = torch.linalg.svd(features.double() - centre, full_matrices=False)
        deviations = singular / len(features) ** 0.5
        if deviations[0] == 0:
            return  # all features are equal, and have no directions
        count = min(int((deviations > deviations[0] * 1e-6).sum()), len(weight))
        rows = axes[:count] / deviations[:count, None] ** self._whiten
        length = ((features.double() - centre) @ rows.T).norm(dim=1).mean()
        rows = rows / length
        with torch.no_grad():
            weight.mul_(0.1 * float(rows.std() / weight.std()))
            weight[:count] = rows.to(weight)
            bias.copy_(-(weight.double().cpu() @ centre).to(bias))
