"""The loss `margin`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metricforge.contracts import AllTriplets, Counted, Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import Gradient, Tile, Tiling, distances, precise, scored


class Margin(nn.Module):
    """Positives nearer than beta - margin, negatives farther than beta + margin (Wu 2017).

    The sum over triplets of max(0, d(a, p) - beta + margin) + max(0, beta - d(a, n) + margin),
    divided by how many of these terms are above zero; d is the euclidean distance. beta is one
    boundary between near and far for all classes. All triplets of a batch are summed without a list
    of them. Without triplets the loss is zero, with a graph.

    Args:
        margin: Distance above 0 between the boundary and both positives and negatives.
        beta: Distance above 0 of the boundary at the start of training.
        learn: Whether beta is learned; false: it stays as it is.

    Reference: Wu et al., Sampling Matters in Deep Embedding Learning, 2017.
    """

    accepts = (Triplets,)

    def __init__(self, *, margin: float = 0.2, beta: float = 1.2, learn: bool = True) -> None:
        super().__init__()
        if not (margin > 0 and beta > 0):
            raise UsageError("margin needs margin > 0 and beta > 0.")
        self.margin = margin
        self.beta = nn.Parameter(torch.tensor(float(beta)), requires_grad=learn)

    def forward(self, embeddings: Tensor, labels: Tensor, tuples: Triplets | AllTriplets) -> Tensor:
        return self.counted(embeddings, labels, tuples).value

    def counted(
        self, embeddings: Tensor, labels: Tensor, tuples: Triplets | AllTriplets
    ) -> Counted:
        """The loss, and the number of triplets that have a term above zero."""
        if isinstance(tuples, AllTriplets):
            return self._of_all(embeddings, labels, tuples.anchors)
        near = distances(embeddings, tuples.anchor, tuples.positive)
        far = distances(embeddings, tuples.anchor, tuples.negative)
        inside, outside = near - self.beta + self.margin, self.beta - far + self.margin
        counted = (inside.detach() > 0).sum() + (outside.detach() > 0).sum()
        active = ((inside.detach() > 0) | (outside.detach() > 0)).sum()
        loss = inside.clamp(min=0).sum() + outside.clamp(min=0).sum()
        return Counted((loss + embeddings[:0].sum()) / counted.clamp(min=1), active)

    def _of_all(self, embeddings: Tensor, labels: Tensor, anchors: int | None) -> Counted:
        """Each positive stands with all negatives of its anchor, and each negative likewise."""
        tiling = Tiling(embeddings, labels, anchors)
        gradient = Gradient(tiling)
        exact = precise(embeddings.device)
        sums = torch.zeros(4, dtype=exact, device=embeddings.device)
        for tile in tiling.squared_distances():
            sums += torch.stack([part.to(exact).sum() for part in self._of_tile(tile, gradient)])
        loss, counted, active, by_beta = sums
        count = counted.clamp(min=1)
        slope = gradient.in_batch_order() / count.to(tiling.rows.dtype)
        value = scored(embeddings, (loss / count).to(slope.dtype), slope)
        value = value + scored(self.beta, torch.zeros_like(value), by_beta / count)
        return Counted(value, active)

    def _of_tile(self, tile: Tile, gradient: Gradient) -> tuple[Tensor, ...]:
        """Of each anchor [R] the loss, the terms above zero, the active triplets, d loss / d beta.

        The slopes by the distances are added to the gradient.
        """
        distance, tiling = tile.values.sqrt_(), gradient.tiling
        positives, negatives = (
            tiling.classes.there(count(tile.rows)).to(distance.dtype)
            for count in (tiling.classes.positives, tiling.classes.negatives)
        )
        beta = self.beta.detach().to(distance.dtype)
        near = torch.where(tile.positive, tile.near, 0.0)
        inside = torch.where(tile.positive, near - beta + self.margin, 0.0).clamp_(min=0)
        outside = torch.sub(beta + self.margin, distance, out=tiling.spare(tile)).clamp_(min=0)
        outside[:, tile.window].masked_fill_(tile.same, 0.0)
        loss = negatives * inside.sum(1) + positives * outside.sum(1)
        pulls, pushes = inside.sign_().sum(1), outside.sign_().sum(1)
        pulled, pushed = negatives * pulls, positives * pushes
        idle = (positives - pulls) * (negatives - pushes)
        slopes = outside.mul_(-positives[:, None])
        slopes[:, tile.window].add_(inside * negatives[:, None])
        gradient.of_distances(tile, slopes, distance)
        return loss, pulled + pushed, positives * negatives - idle, pushed - pulled
