"""Distances and dot products of listed pairs of rows, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Pairs at a time: their rows stay in a processor's cache.
PART = 2**13


def distances(embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances [M] of the rows `first` and `second` [M] of embeddings [B, D].

    Computed from the difference, in float32 at least: accurate where two rows almost coincide.
    Where they do, the distance and its gradient are zero. Memory is O(M + B D), not O(M D);
    can be differentiated once.
    """
    result: Tensor = _Distances.apply(embeddings, first, second)
    return result


def dot_products(embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Dot products [M] of the rows `first` and `second` [M] of embeddings [B, D].

    In float32 at least; memory is O(M + B D), not O(M D); can be differentiated once.
    """
    result: Tensor = _Dots.apply(embeddings, first, second)
    return result


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
        rows = _widened(embeddings)
        found = rows.new_empty(len(first))
        for part in _parts(first):
            difference = rows.index_select(0, first[part]) - rows.index_select(0, second[part])
            torch.linalg.vector_norm(difference, dim=1, out=found[part])
        ctx.save_for_backward(embeddings, first, second, found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        embeddings, first, second, found = ctx.saved_tensors
        rows = _widened(embeddings)
        gradient = torch.zeros_like(rows)
        # Between rows that coincide the difference is zero: so is the gradient then, not NaN.
        scale = slope / found.clamp(min=torch.finfo(found.dtype).tiny)
        for part in _parts(first):
            difference = rows.index_select(0, first[part]) - rows.index_select(0, second[part])
            difference *= scale[part, None]
            gradient.index_add_(0, first[part], difference)
            gradient.index_add_(0, second[part], difference, alpha=-1)
        return gradient.to(embeddings.dtype), None, None


class _Dots(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
        rows = _widened(embeddings)
        found = rows.new_empty(len(first))
        for part in _parts(first):
            product = rows.index_select(0, first[part]) * rows.index_select(0, second[part])
            torch.sum(product, dim=1, out=found[part])
        ctx.save_for_backward(embeddings, first, second)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        embeddings, first, second = ctx.saved_tensors
        rows = _widened(embeddings)
        gradient = torch.zeros_like(rows)
        for part in _parts(first):
            one, other = first[part], second[part]
            gradient.index_add_(0, one, rows.index_select(0, other) * slope[part, None])
            gradient.index_add_(0, other, rows.index_select(0, one) * slope[part, None])
        return gradient.to(embeddings.dtype), None, None


def _widened(rows: Tensor) -> Tensor:
    return rows if rows.dtype == torch.float64 else rows.float()


def _parts(listed: Tensor) -> Iterator[slice]:
    # A GPU is kept busy by more, and has no cache to stay in.
    size = PART if listed.device.type == "cpu" else 64 * PART
    return (slice(first, first + size) for first in range(0, len(listed), size))
