"""The augmentations of a recipe, combined for its images."""

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


def requested_orientations(recipe: Recipe, steps: Sequence[Augmentation]) -> int | None:
    """The orientations that count as classes; None if neither recipe nor augmentation sets them."""
    requested: set[int] = {
        step.orientations for step in steps if isinstance(step, TurningIntoClasses)
    }
    if recipe.orientations is not None:
        requested.add(recipe.orientations)
    if len(requested) > 1:
        numbers = " and ".join(map(str, sorted(requested)))
        raise UsageError(f"an augmentation and --orientations ask for {numbers}; give one.")
    return next(iter(requested), None)


def chained(steps: Sequence[Any], seed: int, images: Images, train: Tensor) -> Chain | None:
    """The augmentations as one, which fills borders with the edge colour of the train images."""
    if not steps:
        return None
    return Chain(steps, seed, [] if len(images.shape) == 1 else edge_colour(images, train))


def edge_colour(images: Images, train: Tensor) -> list[float]:
    """The median of the outermost pixels in each channel, over an even sample.

    The border of a turned or shifted image is filled with it, like its background: black beside
    light strokes, white beside dark ones. Mirroring would draw strokes twice.
    """
    sample = images.take(train[:: -(-len(train) // SAMPLED)]).cpu()
    edges = [sample[:, :, 0], sample[:, :, -1], sample[:, :, :, 0], sample[:, :, :, -1]]
    rows = torch.cat([edge.transpose(0, 1).flatten(1) for edge in edges], dim=1)
    colour: list[float] = rows.float().median(dim=1).values.tolist()
    return colour
