"""A run of six steps, for tests that break it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

PARTS = "classes:train=0-5,validation=6-7,test=8-9"


def make_images(folder: Path) -> Path:
    """Ten classes of six small images, whose brightness tells them apart a little, as an .npz."""
    images, labels = _noise()
    np.savez(folder / "small.npz", images=images, labels=labels)
    return folder / "small.npz"


def make_files(folder: Path) -> Path:
    """The same images as files, in a folder for each class."""
    for number, (image, label) in enumerate(zip(*_noise(), strict=True)):
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def words(images: Path) -> list[str]:
    """A run of two epochs of three steps; an average, so that there is more to lose."""
    dataset = f"npz:path={images}" if images.suffix == ".npz" else f"folder:path={images}"
    return [
        "--dataset", dataset, "--split", PARTS, "--sampler", "hard-triplet:classes=3,per_class=4",
        "--backbone", "conv4:channels=4", "--augment", "affine:rotate=10", "--ema", "0.9",
        "--orientations", "1", "--epochs", "2", "--protocol", "retrieval", "--device", "cpu",
        "--dim", "4",
    ]  # fmt: skip


def _noise() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 6)
    noise = rng.integers(0, 90, (60, 16, 16))
    return (noise + 16 * labels[:, None, None]).astype(np.uint8), labels
