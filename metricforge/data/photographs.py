"""Whether images are photographs or drawings, by how many tones they are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.data.images import Images

SAMPLED = 64
BINS = 32
COVERED = 0.9
SMALLEST = 32
# Tones that cover nine tenths of an image, of 32: medians of 16 and 18 in birds and groceries, of
# 2 to 7 in Omniglot, MNIST and glyphs.
OF_PHOTOGRAPHS = 12


def are_photographs(images: Images, indices: Tensor) -> bool:
    """Whether the images at `indices` are of continuous tone, as photographs are.

    A drawing has few tones, its ground and its ink. Decided by the median of an even sample; False
    for images under 32 pixels a side, which are too small to decide, and for vectors.
    """
    if len(images.shape) == 1 or min(images.shape[1:]) < SMALLEST:
        return False
    sample = indices[:: -(-len(indices) // SAMPLED)]
    return float(tones(images.take(sample)).float().median()) >= OF_PHOTOGRAPHS


def tones(images: Tensor) -> Tensor:
    """How many of 32 grey tones cover nine tenths of each image, uint8 [B, C, H, W] to [B]."""
    grey = images.float().mean(1).flatten(1)
    binned = (grey * (BINS / 256)).long()
    counts = torch.stack([(binned == tone).sum(1) for tone in range(BINS)], dim=1)
    covered = counts.sort(dim=1, descending=True).values.cumsum(1)
    return (covered < COVERED * grey.shape[1]).sum(1) + 1
