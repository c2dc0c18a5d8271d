"""The loss `proxy-anchor`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from metricforge.errors import UsageError
from metricforge.pairwise import unit_rows

ENTRIES_PER_TILE = 2**22
"""Cosines of images and proxies in a tile, 16 MB: with more classes the memory does not grow."""


class ProxyAnchor(nn.Module):
    """Draws each class's images to a learned proxy, and those of other classes away (Kim 2020).

    Of each proxy p, with s the cosine: the mean over proxies of classes in the batch of
    log(1 + sum of exp(-alpha (s - margin))) over images of its class, plus the mean over all
    proxies of log(1 + sum of exp(alpha (s + margin))) over images of other classes. Proxies are
    compared in tiles. Without images the loss is zero, with a graph. Proxies learn best at a higher
    rate than the network: `--rates loss=100`.

    Args:
        dim: D, the dimensions of an embedding.
        num_classes: C, the training classes, each with a proxy [D].
        alpha: Scale of the cosines, above 0.
        margin: Margin of the cosines, 0 to 1.

    Reference: Kim et al., Proxy Anchor Loss for Deep Metric Learning, 2020.
    """

    accepts = (None,)

    def __init__(
        self, dim: int, num_classes: int, *, alpha: float = 32.0, margin: float = 0.1
    ) -> None:
        if not 0 < alpha < math.inf or not 0 <= margin <= 1:
            raise UsageError("proxy-anchor needs a finite alpha > 0 and margin from 0 to 1.")
        super().__init__()
        self.alpha, self.margin = alpha, margin
        self.proxies = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.kaiming_normal_(self.proxies, mode="fan_out")

    def forward(self, embeddings: Tensor, labels: Tensor, tuples: None) -> Tensor:
        rows = unit_rows(embeddings if embeddings.dtype.itemsize > 2 else embeddings.float())
        proxies = self.proxies.to(rows.dtype)
        step = max(1, ENTRIES_PER_TILE // max(1, len(rows)))
        parts = [
            # With one tile nothing is saved by computing it again for the gradient.
            checkpoint(self._of_tile, rows, part, labels - begin, use_reentrant=False)
            if len(proxies) > step
            else self._of_tile(rows, part, labels - begin)
            for begin, part in zip(range(0, len(proxies), step), proxies.split(step), strict=True)
        ]
        near, far = (sum(values) for values in zip(*parts, strict=True))
        present = len(labels.unique())
        total: Tensor = near / max(present, 1) + far / len(proxies)
        return total

    def predict(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] to the classes [B] of their nearest proxies."""
        wide = embeddings if embeddings.dtype.itemsize > 2 else embeddings.float()
        return F.linear(unit_rows(wide), unit_rows(self.proxies.to(wide.dtype))).argmax(1)

    def _of_tile(self, rows: Tensor, proxies: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The two sums over some proxies [T, D]; `labels` [B] count from the first of them."""
        cosines = F.linear(rows, unit_rows(proxies))
        same = labels[:, None] == torch.arange(len(proxies), device=labels.device)
        near = (-self.alpha * (cosines - self.margin)).masked_fill(~same, -torch.inf)
        far = (self.alpha * (cosines + self.margin)).masked_fill(same, -torch.inf)
        # The one of log(1 + ...) is a row of zeros, without which a column may be empty.
        one = cosines.new_zeros(1, len(proxies))
        return tuple(torch.cat([one, part]).logsumexp(0).sum() for part in (near, far))  # type: ignore[return-value]
