"""The gradient of a loss over all pairs, collected tile by tile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metricforge.pairwise.tiling import Tile, Tiling, anchors_of


class Gradient:
    """Sums the gradient by the embeddings, from the slopes by the values of each tile.

    Args:
        tiling: The tiling of the batch.
    """

    def __init__(self, tiling: Tiling) -> None:
        self.tiling = tiling
        self._least = tiling.least_distance
        self._sum = torch.zeros_like(tiling.rows)

    def of_distances(
        self, tile: Tile, slopes: Tensor, distances: Tensor, symmetric: bool = False
    ) -> None:
        """Add the gradient of a tile of distances.

        A slope s of the distance d of an anchor x and an image y pulls the anchor by s (x - y) / d
        and the image by as much the other way. Below `least_distance`, where the direction is
        rounding, the pull falls to zero. Both arguments are finite, also where a slope is zero, and
        are overwritten.

        Args:
            tile: The tile, with R anchors.
            slopes: [R, B], the slopes of the loss by the distances.
            distances: [R, B].
            symmetric: Whether all images are anchors and the slopes of (a, j) and (j, a) are the
                same; one matrix product then serves for two.
        """
        # Without the mean, which cancels in a difference, the sums here lose fewer digits.
        rows = self.tiling.centred
        weights = slopes.mul_(distances)
        weights.div_(torch.maximum(distances, self._least, out=distances).square_())
        anchors, factor = anchors_of(rows, tile), 2.0 if symmetric else 1.0
        pull = torch.addmm(weights.sum(1)[:, None] * anchors, weights, rows, alpha=-1)
        self._sum.index_add_(0, tile.own, pull, alpha=factor)
        if not symmetric:
            self._sum.addmm_(weights.T, anchors, alpha=-1)
            self._sum.addcmul_(weights.sum(0)[:, None], rows)

    def of_similarities(self, tile: Tile, slopes: Tensor) -> None:
        """Add the gradient of a tile of dot products.

        Args:
            tile: The tile, with R anchors.
            slopes: [R, B], the slopes of the loss by the dot products.
        """
        rows = self.tiling.rows
        self._sum.index_add_(0, tile.own, slopes @ rows)
        self._sum.addmm_(slopes.T, anchors_of(rows, tile))

    def in_batch_order(self) -> Tensor:
        """The gradient [B, D], in the order of the batch."""
        result = torch.empty_like(self._sum)
        result[self.tiling.classes.order_there] = self._sum
        return result


def scored(embeddings: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """A scalar with a graph, from a value and its gradient, both computed without a graph.

    It can be differentiated once.

    Args:
        embeddings: [B, D], with a graph.
        value: 0-d.
        gradient: [B, D], of the value by the embeddings.

    Returns:
        The value, with a graph.
    """
    result: Tensor = _Scored.apply(embeddings, value.detach(), gradient)
    return result


class _Scored(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient.to(embeddings.dtype))
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * scale.to(gradient.dtype), None, None
