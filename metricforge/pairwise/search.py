"""Searching the rows of a tile: the lowest value, the lowest beyond a threshold."""

from __future__ import annotations

import torch
from torch import Tensor

# Values that a row is reduced to, before one of them is looked at for a place.
WIDTH = 64
# From this many thresholds a row, sorting it is cheaper than a pass for each.
MANY = 48


def lowest(values: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest value of each row [R, B] and its column, [R] each; B is at least 1.

    Reductions that only want the value run at the speed of memory, and those that also want the
    place do not: so the row is reduced to the lowest of each run of columns, and one run searched.
    """
    length = values.shape[1] // WIDTH
    if length < 2:
        return values.min(1)
    whole = length * WIDTH
    # A run is every 64th column: the reduction then goes along the row.
    run = values[:, :whole].unflatten(1, (length, WIDTH)).amin(1).argmin(1)
    columns = run[:, None] + WIDTH * torch.arange(length, device=values.device)
    if whole < values.shape[1]:
        rest = torch.arange(whole, values.shape[1], device=values.device)
        columns = torch.cat([columns, rest.expand(len(values), -1)], dim=1)
    found, place = values.gather(1, columns).min(1)
    return found, columns.gather(1, place[:, None]).squeeze(1)


def nearest_beyond(values: Tensor, thresholds: Tensor, spare: Tensor) -> tuple[Tensor, Tensor]:
    """For each threshold [R, K] the column of the lowest of values [R, B] above it, and whether.

    `spare` is scratch memory like `values`. Values of inf are never found, nor is anything
    beyond an infinite threshold.
    """
    if thresholds.shape[1] >= MANY:
        ordered, columns = values.sort(1)
        place = torch.searchsorted(ordered, thresholds.contiguous(), right=True)
        place.clamp_(max=values.shape[1] - 1)
        found = ordered.gather(1, place)
        return columns.gather(1, place), (found > thresholds) & (found < torch.inf)
    columns = torch.zeros_like(thresholds, dtype=torch.int64)
    there = torch.zeros_like(thresholds, dtype=torch.bool)
    for k in range(thresholds.shape[1]):
        # Below zero for what lies beyond, and the lower the nearer; a tie gives +inf.
        torch.sub(thresholds[:, k, None], values, out=spare).reciprocal_()
        best, columns[:, k] = lowest(spare)
        there[:, k] = best < 0
    return columns, there


def nth_below(
    values: Tensor, thresholds: Tensor, share: Tensor, spare: Tensor
) -> tuple[Tensor, Tensor]:
    """For each threshold [R, K] one of the values [R, B] below it, by share [R, K], and whether.

    A share in [0, 1) picks among the values below: uniform shares pick each as likely. `spare`
    is scratch memory like `values`. Returns the columns, int64 [R, K].
    """
    if thresholds.shape[1] >= MANY:
        ordered, columns = values.sort(1)
        count = torch.searchsorted(ordered, thresholds.contiguous())
        return columns.gather(1, (share * count).long().clamp(max=values.shape[1] - 1)), count > 0
    columns = torch.zeros_like(thresholds, dtype=torch.int64)
    there = torch.zeros_like(thresholds, dtype=torch.bool)
    for k in range(thresholds.shape[1]):
        torch.sub(thresholds[:, k, None], values, out=spare).sign_().clamp_(min=0)
        torch.cumsum(spare, 1, out=spare)
        count = spare[:, -1]
        wanted = (share[:, k] * count).floor() + 1
        found = torch.searchsorted(spare, wanted[:, None].to(spare.dtype)).squeeze(1)
        columns[:, k], there[:, k] = found.clamp(max=values.shape[1] - 1), count > 0
    return columns, there
