"""Embeddings as a few centroids each."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor

from metricforge.errors import UsageError
from metricforge_standard._codes.plain import Plain

CENTROIDS = 256


class Product(Plain):
    """Each of M parts of a row is the nearest of 256 centroids, a byte a part.

    Until it is fitted, these are random.

    Reference: Jégou, Douze & Schmid, Product Quantization for Nearest Neighbor Search, 2011. Ge et
        al., Optimized Product Quantization, 2013.
    """

    centroids: Tensor

    def __init__(self, dim: int, parts: int) -> None:
        super().__init__(dim)
        if parts < 1 or dim % parts:
            divisors = ", ".join(str(n) for n in range(1, dim + 1) if dim % n == 0)
            raise UsageError(
                f"product quantization divides {dim} dimensions into equal parts, not {parts}: "
                f"take {divisors}."
            )
        self.bytes = parts
        start = torch.randn(parts, CENTROIDS, dim // parts) / dim**0.5
        self.register_buffer("centroids", start)

    def turn(self, rows: Tensor) -> Tensor | None:
        """The rotation after which parts lose least of rows."""
        _refuse_few(rows)
        # The matrix borrows the quantizer, which must outlive it.
        quantizer = self._quantizer()
        matrix = faiss.OPQMatrix(self.dim, self.bytes)
        matrix.pq, matrix.niter = quantizer, 20
        matrix.train(_float32(rows))
        turned = faiss.vector_to_array(matrix.A).reshape(self.dim, self.dim)
        return torch.from_numpy(turned)

    def fit(self, rows: Tensor) -> None:
        _refuse_few(rows)
        quantizer = self._quantizer()
        quantizer.train(_float32(rows))
        found = faiss.vector_to_array(quantizer.centroids).reshape(self.centroids.shape)
        self.centroids.copy_(torch.from_numpy(found))

    def forward(self, rows: Tensor) -> Tensor:
        return self._rows_of(self._nearest(rows))

    def pack(self, rows: Tensor) -> Tensor:
        return self._nearest(rows).to(torch.uint8)

    def unpack(self, codes: Tensor) -> Tensor:
        return self._rows_of(codes.long())

    def index(self, codes: Tensor) -> Any:
        index = faiss.IndexPQ(self.dim, self.bytes, 8)
        faiss.copy_array_to_vector(self.centroids.numpy().ravel(), index.pq.centroids)
        index.is_trained = True
        index.add_sa_codes(codes.numpy())
        return index

    def _quantizer(self) -> Any:
        quantizer = faiss.ProductQuantizer(self.dim, self.bytes, 8)
        # faiss warns of fewer than 39 rows for each centroid, once for every part and iteration.
        quantizer.cp.min_points_per_centroid = 1
        return quantizer

    def _nearest(self, rows: Tensor) -> Tensor:
        """The centroid [B, M] of each part of rows."""
        parts = rows.unflatten(1, (self.bytes, -1)).transpose(0, 1)
        return torch.cdist(parts, self.centroids.to(parts.dtype)).argmin(dim=2).T

    def _rows_of(self, nearest: Tensor) -> Tensor:
        part = torch.arange(self.bytes, device=nearest.device)
        return self.centroids[part, nearest].flatten(1)


def _refuse_few(rows: Tensor) -> None:
    if len(rows) < CENTROIDS:
        raise UsageError(
            f"product quantization needs {CENTROIDS} training images or more, and has "
            f"{len(rows)}: take int8."
        )


def _float32(rows: Tensor) -> Any:
    return np.ascontiguousarray(rows.float().numpy())
