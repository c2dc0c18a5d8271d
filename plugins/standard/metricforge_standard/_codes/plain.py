"""Embeddings as they are, in float32."""

from __future__ import annotations

from typing import Any

import faiss
import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Embeddings [B, D] that stay as they are."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.bytes = dim, 4 * dim

    def turn(self, rows: Tensor) -> Tensor | None:
        """The rotation [D, D] that suits the code; None for no rotation."""
        return None

    def fit(self, rows: Tensor) -> None:
        """Fit the code to rows float32 [N, D]."""

    def forward(self, rows: Tensor) -> Tensor:
        """The rows [B, D] that the codes of some rows stand for."""
        return rows

    def pack(self, rows: Tensor) -> Tensor:
        """Rows that `forward` has made, as uint8 [N, bytes]."""
        return rows.float().contiguous().view(torch.uint8)

    def unpack(self, codes: Tensor) -> Tensor:
        """The rows float32 [N, D] that were packed."""
        return codes.contiguous().view(torch.float32)

    def index(self, codes: Tensor) -> Any:
        """A faiss index of codes uint8 [N, bytes], by the euclidean distance of their rows."""
        index = faiss.IndexFlatL2(self.dim)
        index.add(self.unpack(codes).numpy())
        return index
