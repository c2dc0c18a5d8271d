"""Search in a tile: the lowest value of a row, the lowest beyond a threshold."""

from __future__ import annotations

import torch
from torch import Tensor

# Runs that the values of a row, or of a column, are reduced to. Along a row, fewer than 32 would
# be reduced one by one.
RUNS = (16, 64)
# From this many thresholds a row, sorting the row is cheaper than a pass for each.
MANY = 48


def lowest(values: Tensor, dim: int = 1) -> tuple[Tensor, Tensor]:
    """The lowest value of each row and its column, or of each column and its row.

    A reduction that returns only the value runs at the speed of memory; one that also returns the
    index does not. So the values are reduced to the lowest of each run, and one run is searched.

    Args:
        values: [R, B], B at least 1.
        dim: 1: of each row; 0: of each column.

    Returns:
        The values and their indices, [R] each (or [B]).
    """
    length, runs = values.shape[dim], RUNS[dim]
    if length < 2 * runs:
        return values.min(dim)
    whole = length // runs * runs
    # A run is every 64th column, or every 16th row: the reduction then goes with the memory.
    reduced = values.narrow(dim, 0, whole).unflatten(dim, (-1, runs)).amin(dim)
    along = (1, -1) if dim else (-1, 1)
    steps = torch.arange(0, whole, runs, device=values.device).view(along)
    candidates = reduced.argmin(dim, keepdim=True) + steps
    if whole < length:
        tail = torch.arange(whole, length, device=values.device).view(along)
        lines = (len(values), -1) if dim else (-1, values.shape[1])
        candidates = torch.cat([candidates, tail.expand(lines)], dim=dim)
    least, position = values.gather(dim, candidates).min(dim)
    return least, candidates.gather(dim, position.unsqueeze(dim)).squeeze(dim)


def nearest_beyond(values: Tensor, thresholds: Tensor, spare: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest value of a row above each threshold.

    Values of inf are never returned, nor is anything beyond an infinite threshold.

    Args:
        values: [R, B].
        thresholds: [R, K].
        spare: Scratch memory like `values`.

    Returns:
        The columns, int64 [R, K], and whether there is one, bool [R, K].
    """
    if thresholds.shape[1] >= MANY:
        ordered, columns = values.sort(1)
        position = torch.searchsorted(ordered, thresholds.contiguous(), right=True)
        position.clamp_(max=values.shape[1] - 1)
        candidates = ordered.gather(1, position)
        return columns.gather(1, position), (candidates > thresholds) & (candidates < torch.inf)
    columns = torch.zeros_like(thresholds, dtype=torch.int64)
    exists = torch.zeros_like(thresholds, dtype=torch.bool)
    for k in range(thresholds.shape[1]):
        # Negative for what is beyond, and the lower the nearer; a tie is +inf.
        torch.sub(thresholds[:, k, None], values, out=spare).reciprocal_()
        best, columns[:, k] = lowest(spare)
        exists[:, k] = best < 0
    return columns, exists


def nth_below(
    values: Tensor, thresholds: Tensor, share: Tensor, spare: Tensor
) -> tuple[Tensor, Tensor]:
    """One of the values of a row below each threshold.

    No value is below NaN.

    Args:
        values: [R, B].
        thresholds: [R, K].
        share: [R, K] in [0, 1), which selects among the values below; uniform ones select each with
            the same probability.
        spare: Scratch memory like `values`.

    Returns:
        The columns, int64 [R, K], and whether there is one, bool [R, K].
    """
    if thresholds.shape[1] >= MANY:
        ordered, columns = values.sort(1)
        count = torch.searchsorted(ordered, thresholds.contiguous())
        return columns.gather(1, (share * count).long().clamp(max=values.shape[1] - 1)), (
            (count > 0) & ~thresholds.isnan()
        )
    columns = torch.zeros_like(thresholds, dtype=torch.int64)
    exists = torch.zeros_like(thresholds, dtype=torch.bool)
    for k in range(thresholds.shape[1]):
        torch.sub(thresholds[:, k, None], values, out=spare).sign_().clamp_(min=0)
        torch.cumsum(spare, 1, out=spare)
        count = spare[:, -1]
        rank = (share[:, k] * count).floor() + 1
        position = torch.searchsorted(spare, rank[:, None].to(spare.dtype)).squeeze(1)
        columns[:, k], exists[:, k] = position.clamp(max=values.shape[1] - 1), count > 0
    return columns, exists
