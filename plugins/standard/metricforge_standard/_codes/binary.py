"""Embeddings with one bit in each dimension."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor

from metricforge_standard._codes.plain import Plain

ITERATIONS = 20
"""After so many the rotation changes little."""


class Binary(Plain):
    """Each dimension is above or below its mean; rows have unit length.

    Reference: Gong & Lazebnik, Iterative Quantization, 2011.
    """

    mean: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.bytes = -(-dim // 8)
        self.register_buffer("mean", torch.zeros(dim))

    def turn(self, rows: Tensor) -> Tensor | None:
        """The rotation after which signs lose least of rows, by iterative quantization."""
        rows = rows.double() - rows.double().mean(0)
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(self.dim, self.dim, generator=generator, dtype=torch.float64)
        turn: Tensor = torch.linalg.qr(start).Q
        for _ in range(ITERATIONS):
            left, _, right = torch.linalg.svd(rows.T @ (rows @ turn).sign())
            turn = left @ right
        return turn.T.float()

    def fit(self, rows: Tensor) -> None:
        self.mean.copy_(rows.mean(0))

    def forward(self, rows: Tensor) -> Tensor:
        return self._signs(rows >= self.mean).to(rows.dtype)

    def pack(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(np.packbits(rows.numpy() >= 0, axis=1))

    def unpack(self, codes: Tensor) -> Tensor:
        bits = np.unpackbits(codes.numpy(), axis=1, count=self.dim)
        return self._signs(torch.from_numpy(bits) > 0)

    def index(self, codes: Tensor) -> Any:
        """A faiss index by the Hamming distance, which takes packed queries."""
        index = faiss.IndexBinaryFlat(8 * self.bytes)
        index.add(codes.numpy())
        return index

    def _signs(self, above: Tensor) -> Tensor:
        signs: Tensor = torch.where(above, 1.0, -1.0) / self.dim**0.5
        return signs
