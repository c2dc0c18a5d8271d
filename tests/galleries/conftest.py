"""Images of forty classes, and a run whose validation classes choose thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.small_runs import folder_run

CLASSES, EACH = 40, 8


def write_images(folder: Path) -> Path:
    """Classes of images of one pattern each, with noise."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2, (CLASSES, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    for name in range(CLASSES):
        for number in range(EACH):
            noise = rng.normal(0, 6, (16, 16, 3))
            pixels = (60 + 120 * patterns[name] + noise).clip(0, 255).astype(np.uint8)
            path = folder / f"{name:02}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "all")


@pytest.fixture(scope="session")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    options = {"size": 16, "epochs": 8, "backbone": "conv4:channels=8"}
    return folder_run(images, out, CLASSES, 8, 28, **options)


@pytest.fixture(scope="session")
def people(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight test classes with five images each; the others ask, and four classes are strangers."""
    folder = tmp_path_factory.mktemp("people")
    for name in range(28, 36):
        for number in range(5):
            target = folder / f"{name:02}" / f"{number}.png"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes((images / f"{name:02}" / f"{number}.png").read_bytes())
    return folder
