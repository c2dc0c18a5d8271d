"""Fixtures for tests that need downloaded data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
