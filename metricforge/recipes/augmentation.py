"""The augmentations of a recipe, put together for its images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import Augmentation, TurningIntoClasses
from metricforge.data.images import Images
from metricforge.errors import UsageError
from metricforge.recipes.recipe import Recipe
from metricforge.training.augmentation import Chain

SAMPLED = 200


def asked_orientations(recipe: Recipe, steps: Sequence[Augmentation]) -> int | None:
    """The orientations that count as classes; None where neither recipe nor augmentation says."""
    asked: set[int] = {step.orientations for step in steps if isinstance(step, TurningIntoClasses)}
    if recipe.orientations is not None:
        asked.add(recipe.orientations)
    if len(asked) > 1:
        numbers = " and ".join(map(str, sorted(asked)))
        raise UsageError(f"an augmentation and --orientations ask for {numbers}; give one.")
    return next(iter(asked), None)


def chained(steps: Sequence[Any], seed: int, images: Images, train: Tensor) -> Chain | None:
    """The augmentations as one, filling in the usual colour at the edges of the train images."""
    return Chain(steps, seed, edge_colour(images, train)) if steps else None


def edge_colour(images: Images, train: Tensor) -> list[float]:
    """The median of the outermost pixels in each channel, over an even sample.

    Where an image is turned or shifted, what comes in looks like its background: black beside
    light strokes, white beside dark ones. Measured rather than mirrored, so that no stroke is
    drawn twice.
    """
    sample = images.take(train[:: -(-len(train) // SAMPLED)]).cpu()
    edges = [sample[:, :, 0], sample[:, :, -1], sample[:, :, :, 0], sample[:, :, :, -1]]
    rows = torch.cat([edge.transpose(0, 1).flatten(1) for edge in edges], dim=1)
    colour: list[float] = rows.float().median(dim=1).values.tolist()
    return colour
