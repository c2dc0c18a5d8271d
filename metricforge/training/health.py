"""Whether embeddings still use their space: spread, effective rank, and collapse."""

from __future__ import annotations

import math
from collections import deque

import torch
from torch import Tensor

SAMPLE = 1_024
# Fewer embeddings, e.g. of a short epoch's last batch, may all be of one class.
FEWEST = 32
# Measured: 0.001 to 0.01 in digits collapsed by a learning rate of 0.1; 0.027, at the margin, in
# MNIST with hard triplets in two dimensions; 0.05 to 0.07 after an epoch of runs that then learned.
POINT, NEAR_POINT = 0.02, 0.04
AT_MARGIN, NEARLY_ALL = 0.02, 0.95
# In one point about half of the tuples of a smooth loss are violated. Embeddings of free length may
# be close relative to their length and yet apart: then hardly any tuple is.
HARDLY_ANY = 0.25


class Sample:
    """The newest embeddings of a training, about 1,024."""

    def __init__(self) -> None:
        self._parts: deque[Tensor] = deque()
        self._size = 0

    @property
    def newest(self) -> Tensor:
        """The last added embeddings, [n, D]: of more than 1,024 a subset."""
        return self._parts[-1]

    def add(self, embeddings: Tensor) -> None:
        """Add embeddings [B, D]; of more than 1,024 every n-th, as a class is adjacent."""
        stride = -(-len(embeddings) // SAMPLE) or 1
        rows = embeddings.detach()
        # A copy: a view would keep the large batch in memory.
        self._parts.append(rows[::stride].clone() if stride > 1 else rows)
        self._size += len(self._parts[-1])
        while self._size - len(self._parts[0]) >= SAMPLE:
            self._size -= len(self._parts.popleft())

    def parts(self) -> list[Tensor]:
        """Its embeddings, in the pieces [n, D] that were added, oldest first."""
        return list(self._parts)

    def rows(self) -> Tensor | None:
        """The newest embeddings, float64 [n, D] on the CPU, n at most 1,024; None without any."""
        if self._size == 0:
            return None
        return torch.cat([part.cpu().double() for part in self._parts])[-SAMPLE:]


def spread(embeddings: Tensor) -> float:
    """The distance of embeddings [n, D] from their mean, over their length; both root mean square.

    0: all in one point; 1: their mean is the origin. No embeddings, or only zeros, give 0.
    """
    rows = _scaled(embeddings)
    length = float(rows.square().sum())
    if length == 0:
        return 0.0
    apart = float((rows - rows.mean(0)).square().sum())
    return min(math.sqrt(apart / length), 1.0)


def effective_rank(embeddings: Tensor) -> float:
    """The dimensions that embeddings [n, D] spread in, 1 to min(n - 1, D); in one point 0.

    The exponential of the entropy of the singular values of the centred embeddings, scaled to sum
    to one (Roy and Vetterli 2007).
    """
    rows = _scaled(embeddings)
    if rows.numel() == 0:
        return 0.0
    centred = rows - rows.mean(0)
    n, dim = centred.shape
    # The smaller product has the same values, squared, and costs far less than an SVD.
    product = centred.T @ centred if dim < n else centred @ centred.T
    squares = torch.linalg.eigvalsh(product)
    # The rounding error: of the centring, relative to the length, and of the eigenvalues.
    noise = torch.finfo(rows.dtype).eps * max(n, dim)
    floor = max(noise**2 * float(rows.square().sum()), noise * float(squares[-1]))
    values = squares[squares > floor].sqrt()
    shares = values / values.sum()
    return math.exp(float(torch.special.entr(shares).sum())) if len(values) else 0.0


def collapsed(spread: float, loss: float, margin: object, active_share: float | None) -> bool:
    """Whether embeddings of that spread are in one point, or stay near it.

    A loss that stays at its margin keeps them there: d(a, p) and d(a, n) are equal in every
    triplet. `loss` and `active_share` are an epoch's means.
    """
    active = 1.0 if active_share is None else active_share
    stuck = at_margin(loss, margin) and active >= NEARLY_ALL
    return (spread < POINT and active >= HARDLY_ANY) or (stuck and spread < NEAR_POINT)


def at_margin(loss: float, margin: object) -> bool:
    """Whether a loss is within 2 % of its margin; False if that is not a number above 0."""
    if not isinstance(margin, int | float) or margin <= 0:
        return False
    return abs(loss - margin) <= AT_MARGIN * margin


def _scaled(embeddings: Tensor) -> Tensor:
    """In float64, scaled to at most 1: no metric depends on the scale, no square overflows."""
    rows = embeddings.double()
    largest = float(rows.abs().max()) if rows.numel() else 0.0
    return rows / largest if largest > 0 else rows
