"""The loss `softmax`."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from metricforge.errors import UsageError


class Softmax(nn.Module):
    """Classifies each image by a linear layer on its embedding: the baseline of most papers.

    The mean over images of the cross-entropy of softmax(scale W x + b) with the class of the image.
    W [num_classes, dim] and b are learned, and discarded after training. Without images the loss is
    zero, with a graph.

    Args:
        dim: D, the dimensions of an embedding.
        num_classes: Training classes.
        scale: Factor of the embedding, above 0; well above 1 for unit length (Ranjan 2017), 1
            otherwise.
        smoothing: Fraction of the label that is spread over all classes, 0 to below 1 (Szegedy
            2016).

    Reference: Ranjan et al., L2-constrained Softmax Loss for Discriminative Face Verification,
        2017. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016.
    """

    accepts = (None,)

    def __init__(
        self, dim: int, num_classes: int, *, scale: float = 16.0, smoothing: float = 0.0
    ) -> None:
        if not 0 < scale < math.inf or not 0 <= smoothing < 1:
            raise UsageError("softmax needs a finite scale > 0 and smoothing in [0, 1).")
        super().__init__()
        self.scale, self.smoothing = scale, smoothing
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, embeddings: Tensor, labels: Tensor, tuples: None) -> Tensor:
        logits = self._logits(embeddings)
        total = F.cross_entropy(
            logits, labels.long(), reduction="sum", label_smoothing=self.smoothing
        )
        return total / max(len(labels), 1)

    def predict(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] to the classes [B] that the classifier predicts."""
        return self._logits(embeddings).argmax(1)

    def _logits(self, embeddings: Tensor) -> Tensor:
        wide = embeddings if embeddings.dtype.itemsize > 2 else embeddings.float()
        weight, bias = (learned.to(wide.dtype) for learned in self.classifier.parameters())
        return F.linear(self.scale * wide, weight, bias)
