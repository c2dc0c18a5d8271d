"""Characters that no alphabet has, made of parts of two that it has, as further classes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# Of a side: how far from the middle a cut may lie, as a deviation.
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

    A straight cut near the middle parts them, in a direction that the pair's number decides. The
    images of both are taken in order, so that where drawers have drawn in the same order, both
    parts are by one hand.
    """
    number, (first, second) = numbered
    rng = np.random.default_rng((1, number))
    angle, off = rng.uniform(0, 2 * math.pi), rng.normal(0, _OFF)
    one, other = images[labels == first], images[labels == second]
    kept = _side(images.shape[2], images.shape[3], angle, off)
    count = min(len(one), len(other))
    return (one[:count] * kept + other[:count] * (1 - kept)).round().to(torch.uint8)


def _side(height: int, width: int, angle: float, off: float) -> Tensor:
    """What share of each pixel lies on one side of a line, [H, W], about."""
    down = (torch.arange(height) + 0.5) / height - 0.5
    across = (torch.arange(width) + 0.5) / width - 0.5
    beyond = math.cos(angle) * across + math.sin(angle) * down[:, None] - off
    return (beyond * width + 0.5).clamp(0, 1)
