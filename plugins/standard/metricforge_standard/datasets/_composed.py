"""Composed characters, made of parts of two characters of an alphabet, as further classes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# Standard deviation of a cut's distance from the middle, as a fraction of a side.
_OFF = 0.1


def compositions(labels: Tensor, groups: Tensor, share: float) -> list[tuple[int, int]]:
    """Pairs of classes of one group, a `share` of as many as each group has classes.

    The same for the same labels [N] and groups [N].
    """
    rng = np.random.default_rng(0)
    pairs = []
    for group in groups.unique().tolist():
        classes = labels[groups == group].unique().numpy()
        for _ in range(round(share * len(classes)) if len(classes) > 1 else 0):
            first, second = rng.choice(classes, 2, replace=False)
            pairs.append((int(first), int(second)))
    return pairs


def images_of(numbered: tuple[int, tuple[int, int]], images: Tensor, labels: Tensor) -> Tensor:
    """The images [M, 1, H, W] of a pair of classes: part of one and part of the other.

    The pair's number decides the direction of a straight cut near the middle. The images of both
    are combined in order: if drawers come in the same order, both parts are by one hand.
    """
    number, (first, second) = numbered
    rng = np.random.default_rng((1, number))
    angle, off = rng.uniform(0, 2 * math.pi), rng.normal(0, _OFF)
    left, right = images[labels == first], images[labels == second]
    share = _side(images.shape[2], images.shape[3], angle, off)
    count = min(len(left), len(right))
    return (left[:count] * share + right[:count] * (1 - share)).round().to(torch.uint8)


def _side(height: int, width: int, angle: float, off: float) -> Tensor:
    """The approximate share of each pixel on one side of a line, [H, W]."""
    down = (torch.arange(height) + 0.5) / height - 0.5
    across = (torch.arange(width) + 0.5) / width - 0.5
    beyond = math.cos(angle) * across + math.sin(angle) * down[:, None] - off
    return (beyond * width + 0.5).clamp(0, 1)
