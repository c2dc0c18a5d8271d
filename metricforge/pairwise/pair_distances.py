"""Distances and dot products of listed pairs of rows, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Pairs at a time: their rows stay in a CPU's cache.
PART = 2**10


def distances(embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances of listed pairs of rows.

    Computed from the difference, in float32 at least: accurate where two rows almost coincide.
    Where they do, the distance and its gradient are zero. Memory is O(M + B D), not O(M D). The
    result can be differentiated once.

    Args:
        embeddings: [B, D].
        first: int64 [M].
        second: int64 [M].

    Returns:
        Distances [M], with a graph.
    """
    result: Tensor = _Distances.apply(embeddings, first, second)
    return result


def dot_products(embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Dot products of listed pairs of rows.

    In float32 at least. Memory is O(M + B D), not O(M D). The result can be differentiated once.

    Args:
        embeddings: [B, D].
        first: int64 [M].
        second: int64 [M].

    Returns:
        Dot products [M], with a graph.
    """
    result: Tensor = _Dots.apply(embeddings, first, second)
    return result


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
        rows = _widened(embeddings)
        lengths = rows.new_empty(len(first))
        for part, left, right in _parts(rows, first, second):
            torch.linalg.vector_norm(left.sub_(right), dim=1, out=lengths[part])
        ctx.save_for_backward(embeddings, first, second, lengths)
        return lengths

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        embeddings, first, second, lengths = ctx.saved_tensors
        rows = _widened(embeddings)
        gradient = torch.zeros_like(rows)
        # Between rows that coincide the difference is zero: so is the gradient then, not NaN.
        # The square of a smaller distance has no digits, and no slope must overflow.
        scale = slope / lengths.clamp(min=torch.finfo(lengths.dtype).tiny ** 0.5)
        for part, left, right in _parts(rows, first, second):
            pull = left.sub_(right).mul_(scale[part, None])
            gradient.index_add_(0, first[part], pull)
            gradient.index_add_(0, second[part], pull, alpha=-1)
        return gradient.to(embeddings.dtype), None, None


class _Dots(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
        rows = _widened(embeddings)
        products = rows.new_empty(len(first))
        for part, left, right in _parts(rows, first, second):
            torch.sum(left.mul_(right), dim=1, out=products[part])
        ctx.save_for_backward(embeddings, first, second)
        return products

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        embeddings, first, second = ctx.saved_tensors
        rows = _widened(embeddings)
        gradient = torch.zeros_like(rows)
        for part, left, right in _parts(rows, first, second):
            gradient.index_add_(0, first[part], right.mul_(slope[part, None]))
            gradient.index_add_(0, second[part], left.mul_(slope[part, None]))
        return gradient.to(embeddings.dtype), None, None


def _widened(rows: Tensor) -> Tensor:
    return rows if rows.dtype == torch.float64 else rows.float()


def _parts(rows: Tensor, first: Tensor, second: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Slices of the pairs, each with its rows, in memory that is reused for the next slice."""
    # A GPU needs more pairs at a time, and has no such cache.
    size = min(PART if rows.device.type == "cpu" else 256 * PART, len(first))
    left, right = rows.new_empty(2, size, rows.shape[1])
    for begin in range(0, len(first), max(size, 1)):
        part = slice(begin, min(begin + size, len(first)))
        count = part.stop - part.start
        torch.index_select(rows, 0, first[part], out=left[:count])
        torch.index_select(rows, 0, second[part], out=right[:count])
        yield part, left[:count], right[:count]
