"""Embeddings with 256 values in each dimension."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor

from metricforge_standard._codes.plain import Plain

STEPS = 255
BEYOND = 0.2
"""How far values reach beyond those of the training images, in spans of these: new classes do."""


class Int8(Plain):
    """Each dimension is rounded to one of 256 values, around those that it was fitted to.

    Until it is fitted, they are those from -1 to 1.
    """

    low: Tensor
    step: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.bytes = dim
        self.register_buffer("low", torch.full((dim,), -1.0))
        self.register_buffer("step", torch.full((dim,), 2.0 / STEPS))

    def fit(self, rows: Tensor) -> None:
        low, high = rows.aminmax(dim=0)
        beyond = BEYOND * (high - low)
        self.low.copy_(low - beyond)
        # A dimension that is the same everywhere has a step, too, since rows are divided by it.
        step = (high - low + 2 * beyond) / STEPS
        self.step.copy_(torch.where(step > 0, step, 1))

    def forward(self, rows: Tensor) -> Tensor:
        return self.low + self._steps(rows) * self.step

    def pack(self, rows: Tensor) -> Tensor:
        return self._steps(rows).to(torch.uint8)

    def unpack(self, codes: Tensor) -> Tensor:
        return self.low + codes.to(self.step.dtype) * self.step

    def index(self, codes: Tensor) -> Any:
        index = faiss.IndexScalarQuantizer(self.dim, faiss.ScalarQuantizer.QT_8bit)
        # faiss adds half a step to what it decodes.
        low, step = self.low.numpy(), self.step.numpy()
        faiss.copy_array_to_vector(
            np.concatenate([low - step / 2, STEPS * step]).astype(np.float32), index.sq.trained
        )
        index.is_trained = True
        index.add_sa_codes(codes.numpy())
        return index

    def _steps(self, rows: Tensor) -> Tensor:
        return ((rows - self.low) / self.step).round().clamp(0, STEPS)
