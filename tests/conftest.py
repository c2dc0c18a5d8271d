"""Fixtures for tests that need downloaded data, or a small training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metricforge.data.images import MemoryImages
from metricforge.loading import build
from metricforge.model_card import Card
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.training.loop import TrainingSetup
from metricforge.training.optimizer import make_optimizer, parts_of
from metricforge.training.setup import Validated

# Hooks of the table of faults.
from tests.faults import (  # noqa: F401
    pytest_addoption,
    pytest_runtest_logreport,
    pytest_runtest_setup,
    pytest_sessionfinish,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that needs downloaded data."""
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker("data")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that the environment variable METRICFORGE_DATA names; skips without it."""
    folder = os.environ.get("METRICFORGE_DATA")
    if not folder:
        pytest.skip("METRICFORGE_DATA does not name a folder with the datasets")
    return Path(folder)


@pytest.fixture(scope="session")
def mnist_root(data_root: Path) -> Path:
    """The data root, which has MNIST; skips where it has not."""
    return _with(data_root, "MNIST/raw/train-images-idx3-ubyte")


@pytest.fixture(scope="session")
def omniglot_root(data_root: Path) -> Path:
    """The data root, which has Omniglot's archives; skips where it has not."""
    for part in ("images_background", "images_background_small1", "images_evaluation"):
        _with(data_root, f"omniglot-py/{part}.zip")
    return data_root


def _with(root: Path, file: str) -> Path:
    if not (root / file).is_file():
        pytest.skip(f"METRICFORGE_DATA has no {file}")
    return root


@pytest.fixture
def make_setup() -> Callable[..., TrainingSetup]:
    """Builds small trainings from a seed: twice the same arguments, twice the same setup."""
    return small_task


class TinyNet(nn.Module):
    """A convolution, batch norm and dropout: all that a resumed run can get wrong."""

    out_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.2)

    def forward(self, images: Tensor) -> Tensor:
        return self.drop(self.norm(self.convolution(images)).relu().mean((2, 3)))


def small_task(
    sampler: Any = "hard-triplet:classes=3,per_class=3,paced=false",
    miner: Any = None,
    loss: Any = "triplet",
    optimizer: str = "adamw:lr=0.01",
    epochs: int = 3,
    seed: int = 0,
    network: type[nn.Module] | None = None,
    dtype: torch.dtype = torch.float32,
) -> TrainingSetup:
    """A training of 6 classes of 8 images with noise; components are specs or objects."""
    registry = Registry.installed()
    rng = torch.Generator().manual_seed(0)
    every = torch.arange(60) % 6
    noise = torch.randint(0, 120, (60, 1, 6, 6), generator=rng)
    images = MemoryImages((noise + 20 * every.view(-1, 1, 1, 1)).to(torch.uint8))
    train = torch.arange(5, 53)
    labels = every[train]

    def component(kind: str, given: Any, **offers: Any) -> Any:
        return registry.build(kind, Spec.parse(given), offers) if isinstance(given, str) else given

    sampler = component("sampler", sampler, labels=labels, groups=None)
    torch.manual_seed(seed)
    card = Card("object tests:TinyNet", "linear", 4, (1, 6, 6), (0.5,), (0.25,))
    model = build(registry, card, (network or TinyNet)(), None).to(dtype)
    loss = component("loss", loss, dim=4, num_classes=6)
    if isinstance(loss, nn.Module):
        loss.to(dtype)
    return TrainingSetup(
        model=model,
        loss=loss,
        sampler=sampler,
        miner=component("miner", miner, margin=0.2) if miner else sampler.miner,
        images=images,
        train=train,
        labels=labels,
        optimizer=make_optimizer(
            lambda groups: component("optimizer", optimizer, params=groups), parts_of(model, loss)
        ),
        schedule=component("schedule", "cosine"),
        # Rises and falls with the weights, so that the best epoch need not be the last.
        validate=lambda model: Validated(
            {"score": float(model.head.project.weight.detach()[0, 0].sin())}
        ),
        epochs=epochs,
        seed=seed,
    )
