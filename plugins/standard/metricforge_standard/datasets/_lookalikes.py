"""Finds characters that look the same in some face, so that they can't be two classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LIKENESS = 0.82
"""The least cosine of two drawings' outlines that look the same."""

_POOL = 4  # pixels a side that are compared as one
_ROWS = 512  # drawings whose outlines are compared at a time


def distinct(drawings: Sequence[Tensor]) -> list[int]:
    """The indices of the characters that differ from all chosen before them.

    `drawings` are those of C characters, uint8 [F, S, S] each, by the faces. Two characters are
    alike if any drawing of one is like any drawing of the other.
    """
    owners = [torch.full((len(each),), index) for index, each in enumerate(drawings)]
    alike = _alike(_outlines(torch.cat(list(drawings))), torch.cat(owners))
    chosen: list[int] = []
    for character in range(len(alike)):
        if not bool(alike[character, chosen].any()):
            chosen.append(character)
    return chosen


def _outlines(drawings: Tensor) -> Tensor:
    """The slopes of the smoothed drawings in both directions, whole numbers [M, K] in float32.

    They respond to an edge, whatever the width of the stroke, and to a bar of a few pixels.
    """
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (row[:, None] * row)[None, None]
    pooled = (F.avg_pool2d(part[:, None].float(), _POOL) for part in drawings.split(_ROWS))
    return torch.cat([_slopes(F.conv2d(part, kernel, padding=1)) for part in pooled])


def _slopes(smooth: Tensor) -> Tensor:
    across = smooth[:, :, 1:-1, 2:] - smooth[:, :, 1:-1, :-2]
    down = smooth[:, :, 2:, 1:-1] - smooth[:, :, :-2, 1:-1]
    # Halved, the products of the rounded values and their sums are exact in float32, so that
    # every machine finds the same characters alike.
    return (torch.cat((across, down), 1).flatten(1) / 2).round()


def _alike(outlines: Tensor, characters: Tensor) -> Tensor:
    """Whether two characters are alike, bool [C, C]; set below the diagonal only."""
    length = outlines.square().sum(1).sqrt()
    count = int(characters[-1]) + 1
    alike = torch.zeros(count, count, dtype=torch.bool)
    for first in range(0, len(outlines), _ROWS):
        last = min(first + _ROWS, len(outlines))
        products = outlines[first:last] @ outlines[:last].T
        near = products >= LIKENESS * length[first:last, None] * length[:last]
        row, column = near.nonzero().unbind(1)
        alike[characters[first:last][row], characters[column]] = True
    return alike
