"""A small network that never trained, saved as a run's model is, for tests of what it embeds."""

from __future__ import annotations

from pathlib import Path

import torch

from metricforge.loading import build
from metricforge.model_card import Card
from metricforge.registry import Registry


def make_model(
    folder: Path, channels: int = 3, mean: float = 0.5, std: float = 0.25, weight: float = 1.0
) -> Path:
    """`folder` with the model of a run; mean and std of its card, a factor on its last weights."""
    card = Card(
        backbone="conv4:channels=4",
        head="linear",
        dim=4,
        shape=(channels, 16, 16),
        mean=(mean,) * channels,
        std=(std,) * channels,
    )
    torch.manual_seed(0)
    model = build(Registry.installed(), card, None, None)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.mul_(weight)
    model.save(folder / "model")
    return folder
