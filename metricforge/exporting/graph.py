"""The network of a model as one graph, from uint8 pixels to embeddings."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from metricforge.contracts import Reading
from metricforge.errors import UsageError
from metricforge.exporting.resampling import fitted, fixed_matrix
from metricforge.model import EmbeddingModel
from metricforge.pairwise.unit_length import unit_rows

NETWORK = "network"
"""The part of the graph with the weights that a lower precision rounds."""


class Graph(nn.Module):
    """Pixels to embeddings: resizing, normalisation, backbone, head, and unit length.

    uint8 images [B, C, H, W], or vectors float32 [B, V], to float32 embeddings [B, D].

    Args:
        model: The model; adapters are merged into its weights.
        preprocessing: Whether images of any size are taken, and resized as files are.
        half: Whether the network computes in float16.

    Raises:
        UsageError: What the model does to files can't be a part of a graph.
    """

    mean: Tensor
    std: Tensor
    down: Tensor
    across: Tensor

    def __init__(
        self, model: EmbeddingModel, preprocessing: bool = False, half: bool = False
    ) -> None:
        super().__init__()
        own = model.merged() if model.adapters else copy.deepcopy(model)
        own.cpu().eval().requires_grad_(False)
        self.network = nn.Sequential(own.backbone, own.head)
        self.dtype = torch.float16 if half else torch.float32
        self.network.to(self.dtype)
        self.unit_length, self.card, self.preprocessing = own.unit_length, own.card, preprocessing
        self.register_buffer("mean", own.mean.float(), persistent=False)
        self.register_buffer("std", own.std.float(), persistent=False)
        if preprocessing:
            refuse_unfit(own)
        self.resizes = self._resizing()

    def forward(self, images: Tensor) -> Tensor:
        """Embed a batch.

        Args:
            images: uint8 [B, C, H, W], or vectors float32 [B, V].

        Returns:
            float32 [B, D].
        """
        shown = images
        if self.preprocessing:
            shown = fitted(shown, self._size, self.card.reading.fit)
            shown = 255 - shown if self.card.reading.inverted else shown
        shown = shown.float()
        if not self.card.of_vectors:
            if self.resizes:
                # Bicubic overshoots.
                shown = (self.down @ (shown @ self.across.T)).clamp(0, 255)
            shown = shown / 255
        shown = (shown - self.mean) / self.std
        embedding: Tensor = self.network(shown.to(self.dtype)).float()
        return unit_rows(embedding) if self.unit_length else embedding

    def example(self) -> Tensor:
        """A batch of two, as the graph takes it."""
        if self.card.of_vectors:
            return torch.zeros(2, *self.card.shape)
        # Larger than asked for, so that no size is taken for another.
        channels, height, width = self.card.shape
        more = (3, 5) if self.preprocessing else (0, 0)
        return torch.zeros(2, channels, height + more[0], width + more[1], dtype=torch.uint8)

    def axes(self) -> dict[int, str]:
        """The axes of the input that have any length, by their names."""
        return {0: "batch"} | ({2: "height", 3: "width"} if self.preprocessing else {})

    @property
    def _size(self) -> tuple[int, int]:
        _, height, width = self.card.shape
        return height, width

    def _resizing(self) -> bool:
        """The matrices from the model's size to that of the network, unless it is the same."""
        size = self.card.input_size
        if self.card.of_vectors or size is None or size == self._size:
            return False
        for name, length, side in zip(("down", "across"), self._size, size, strict=True):
            weights = fixed_matrix(length, side, self.card.interpolation)
            self.register_buffer(name, weights, persistent=False)
        return True


def refuse_unfit(model: EmbeddingModel) -> None:
    """UsageError for a model whose reading of files can't be a part of a graph."""
    if model.card.of_vectors:
        raise UsageError("a model of vectors resizes nothing: leave --with-preprocessing out.")
    reading = model.card.reading
    if reading.margin is not None:
        what = "are drawings, which are scaled to fill the image"
    elif reading.depth != Reading.depth:
        what = f"have {reading.depth} bits, and a caller hands over 8"
    else:
        return
    raise UsageError(
        f"files of this model {what}: leave --with-preprocessing out, and read them with "
        "metricforge."
    )
