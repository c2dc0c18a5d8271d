"""Sums over the listed pairs of each anchor."""

from __future__ import annotations

import torch
from torch import Tensor


def highest(values: Tensor, anchor: Tensor, count: int, start: float) -> Tensor:
    """The highest value [B] of each anchor's pairs, from values [M]; `start` if it has none."""
    return values.new_full((count,), start).scatter_reduce(0, anchor, values, "amax")


def sums(values: Tensor, anchor: Tensor, count: int) -> Tensor:
    """The sum [B] of each anchor's values [M]."""
    return values.new_zeros(count).index_add(0, anchor, values)


def log_sum_exp(values: Tensor, anchor: Tensor, count: int, start: float) -> Tensor:
    """log(exp(start) + sum of exp(values)) [B] over each anchor's values [M].

    A `start` of -inf adds nothing; an anchor without values then has -inf, with no gradient.
    """
    top = highest(values.detach(), anchor, count, start)
    # An anchor without values has no top to subtract.
    top = torch.where(top == -torch.inf, 0.0, top)
    total = sums((values - top[anchor]).exp(), anchor, count) + (start - top).exp()
    empty = total == 0
    return torch.where(empty, -torch.inf, top + torch.where(empty, 1.0, total).log())
