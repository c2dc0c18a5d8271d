"""The baselines of a trained network: the network before training, raw pixels or vectors."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from metricforge.contracts import Pretrained
from metricforge.data.images import Images
from metricforge.data.prefetch import read_ahead
from metricforge.model import EmbeddingModel, without_head

TRAINED = "trained"
UNTRAINED = "untrained"
PRETRAINED = "pretrained"
CUSTOM = "as given"
PIXELS = "pixels"
VECTORS = "vectors"

RAW = (PIXELS, VECTORS)
"""The rows of what the network gets, of which a run has one."""

BEFORE_TRAINING = (UNTRAINED, PRETRAINED, CUSTOM)
"""The rows of a network before training, of which a run has one."""

# Larger images are averaged down: thousands of raw pixels add no information, but gigabytes.
PIXEL_SIDE = 32
_ROWS = 4096  # vectors that are taken at once


def before_training(
    model: EmbeddingModel, initial: Mapping[str, Tensor], is_custom: bool
) -> tuple[str, EmbeddingModel]:
    """The name of its row, and the network before training.

    Of vectors that are given to the head as they are, these.

    Pretrained weights are judged by the backbone's own features, compared by their cosine: an
    untrained head would make them look worse than they are. A backbone declares such weights by
    `pretrained`; one that is a Python object of the user's (`is_custom`) may have them undeclared.
    A head that starts from another run's is judged with its backbone.
    """
    bare = copy.deepcopy(model)
    bare.load_state_dict(initial)
    if isinstance(model.head, Pretrained) and model.head.pretrained is True:
        return UNTRAINED, bare
    if model.card.passes_on:
        return VECTORS, without_head(bare)
    if isinstance(model.backbone, Pretrained) and model.backbone.pretrained is True:
        return PRETRAINED, without_head(bare)
    if is_custom:
        return CUSTOM, without_head(bare)
    return UNTRAINED, bare


def raw(images: Images, indices: Tensor) -> dict[str, Tensor]:
    """The row of what the network gets [M, ...] at `indices`, by its name.

    Flat pixels, compared by their distance, or vectors, compared by their cosine.
    """
    if len(images.shape) == 1:
        rows = torch.cat([images.take(part).cpu() for part in indices.split(_ROWS)])
        return {VECTORS: directions(rows)}
    return {PIXELS: pixels(images, indices)}


def directions(rows: Tensor) -> Tensor:
    """Rows [N, D] at unit length, however short or long they are; float32."""
    # In float64 no length of a float32 row is too small or too large.
    return F.normalize(rows.double(), dim=1, eps=1e-300).float()


def pixels(images: Images, indices: Tensor) -> Tensor:
    """The images [M] at `indices` as flat float32 pixels, at most 32 x 32 of each channel."""
    return torch.cat([_flat(batch) for batch in read_ahead(images, indices.split(512))])


def _flat(batch: Tensor) -> Tensor:
    values = batch.cpu().float() / 255
    height, width = (min(side, PIXEL_SIDE) for side in values.shape[2:])
    return F.adaptive_avg_pool2d(values, (height, width)).flatten(1)
