"""What the network gets of images and vectors: their size, and by what they are normalised."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metricforge.contracts import Preprocessed, Preprocessing
from metricforge.data.images import Images
from metricforge.data.prefetch import read_ahead
from metricforge.errors import PluginError, UsageError
from metricforge.recipes.defaults import frozen_throughout
from metricforge.recipes.recipe import Recipe

SAMPLED_FOR_STATISTICS = 2_000
# Adam moves each weight by about the learning rate, so an output moves by up to the rate times the
# L1 norm of its input. The default rate suits this mean L1 deviation, that of EfficientNet-Lite0's
# features of photographs.
USUAL_DEVIATIONS = 250.0

Numbers = tuple[float, ...]


def preprocessing_of(backbone: nn.Module, name: str) -> Preprocessing:
    """The preprocessing that a backbone requires; PluginError if it is not a Preprocessing."""
    preprocessing = (
        backbone.preprocessing if isinstance(backbone, Preprocessed) else Preprocessing()
    )
    if not isinstance(preprocessing, Preprocessing):
        raise PluginError(
            f"backbone '{name}': preprocessing must be a metricforge.contracts.Preprocessing, not "
            f"{type(preprocessing).__name__}."
        )
    return preprocessing


def input_size(preprocessing: Preprocessing, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of the network's input; None for vectors."""
    return None if len(shape) == 1 else preprocessing.size or (shape[1], shape[2])


def train_size(recipe: Recipe, size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width of the network's input in training; UsageError where it has none."""
    if recipe.train_scale is None or recipe.train_scale == 1:
        return None
    if size is None or frozen_throughout(recipe):
        has = "vectors" if size is None else "a frozen backbone"
        raise UsageError(
            f"train-scale requires images and a backbone that learns, and this run has {has}: "
            "leave it out."
        )
    height, width = (max(1, round(side * recipe.train_scale)) for side in size)
    return height, width


def normalization(
    preprocessing: Preprocessing, images: Images, train: Tensor
) -> tuple[Numbers, Numbers]:
    """Mean and deviation of each channel: those of the backbone's pretraining, or the train set's.

    Measured on an even sample; a backbone's three channels are averaged for grey images. Vectors
    are not centred, and divided by one number, so that a training does not depend on their unit.
    """
    sample = train[:: -(-len(train) // SAMPLED_FOR_STATISTICS)]
    if len(images.shape) == 1 and preprocessing.std:
        return preprocessing.mean or (0.0,), preprocessing.std
    if len(images.shape) == 1:
        return (0.0,), (_unit(images.take(sample).cpu().double()),)
    channels = images.shape[0]
    declared = [
        part and _for_channels(part, channels) for part in (preprocessing.mean, preprocessing.std)
    ]
    if declared[0] and declared[1]:
        return declared[0], declared[1]
    total = torch.zeros(2, channels, dtype=torch.float64)
    for batch in read_ahead(images, sample.split(256)):
        pixels = batch.cpu().double() / 255
        total += torch.stack([pixels.mean((2, 3)).sum(0), pixels.square().mean((2, 3)).sum(0)])
    mean, square = total / len(sample)
    std = (square - mean.square()).clamp(min=1e-4).sqrt()
    return declared[0] or _rounded(mean), declared[1] or _rounded(std)


def _unit(vectors: Tensor) -> float:
    """What vectors [M, V] are divided by for their deviations to add up to USUAL_DEVIATIONS."""
    deviations = (vectors - vectors.mean(0)).abs().sum(1).mean()
    return float(deviations) / USUAL_DEVIATIONS or 1.0


def _for_channels(numbers: Numbers, channels: int) -> Numbers:
    values = torch.tensor(numbers, dtype=torch.float64)
    return _rounded(values if len(values) == channels else values.mean().repeat(channels))


def _rounded(values: Tensor) -> Numbers:
    return tuple(round(float(value), 6) for value in values)
