"""The loss `sum`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from metricforge.contracts import Build, InnerSpec, Loss, Pairs, Triplets, Tuples
from metricforge.errors import UsageError

EXAMPLE = 'sum:a="pml.CosFaceLoss:scale=20,margin=0.2",b=supcon,weights=1+0.5'


class Sum(nn.Module):
    """Several losses of the same tuples, added up: a=supcon,b="triplet:margin=0.3",weights=1+0.5.

    Each option but `weights` is the spec of a loss, under any name. A spec with a comma goes in
    quotes. A loss of proxies and one of the batch's own images is a usual sum.

    Args:
        weights: Factors of the losses, above 0, in the same order; none: each is 1.
        losses: Spec of a loss, under any name; two or more.
    """

    def __init__(
        self, build: Build[Loss], *, weights: tuple[float, ...] | None = None, **losses: InnerSpec
    ) -> None:
        super().__init__()
        if len(losses) < 2:
            raise UsageError(f"sum needs two losses or more, as in {EXAMPLE}.")
        self.weights = (1.0,) * len(losses) if weights is None else weights
        # Written this way, the comparison is false for NaN.
        above = all(0 < weight < float("inf") for weight in self.weights)
        if len(self.weights) != len(losses) or not above:
            raise UsageError(f"sum needs weights of {len(losses)} numbers above 0, as 1+0.5.")
        self._each: list[Any] = [build(spec) for spec in losses.values()]
        # The losses with parameters, by their option names.
        self.learning = nn.ModuleDict(
            {
                name: loss
                for name, loss in zip(losses, self._each, strict=True)
                if isinstance(loss, nn.Module)
            }
        )
        self.accepts = tuple(
            kind
            for kind in (None, Pairs, Triplets)
            if all(kind in getattr(loss, "accepts", (kind,)) for loss in self._each)
        )
        if not self.accepts:
            raise UsageError(f"sum: {', '.join(losses.values())} compare nothing alike.")

    def forward(self, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Tensor:
        values = (
            weight * loss(embeddings, labels, tuples)
            for weight, loss in zip(self.weights, self._each, strict=True)
        )
        total: Tensor = sum(values, start=embeddings.new_zeros(()))
        return total
