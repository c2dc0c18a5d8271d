"""A run on files of printed characters, of many sizes, and the files themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from metricforge_standard.datasets.glyphs import glyphs
from PIL import Image

import metricforge

pytest.importorskip("onnx", reason="requires metricforge[export]")
pytest.importorskip("onnxruntime", reason="requires metricforge[export]")
pytest.importorskip("onnxscript", reason="requires metricforge[export]")

CLASSES, EACH, SIDE = 36, 8, 24
TRAIN, VALIDATION = 16, 24
"""The first test class comes after so many training and validation classes."""


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of coloured, square PNG files, each of its own size, around SIDE."""
    folder = tmp_path_factory.mktemp("photos") / "all"
    drawn = glyphs(per_class=EACH, size=64)
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        for number in range(EACH):
            ink = np.asarray(drawn.images[label * EACH + number][0])
            colour = rng.integers(100, 256, 3) / 255
            image = Image.fromarray((ink[:, :, None] * colour).astype(np.uint8))
            side = int(rng.integers(SIDE - 4, 2 * SIDE))
            path = folder / f"{label:02}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.resize((side, side)).save(path)
    return folder


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = [f"{label:02}" for label in range(CLASSES)]
    split = (
        f"classes:train={'+'.join(names[:TRAIN])},validation={'+'.join(names[TRAIN:VALIDATION])},"
        f"test={'+'.join(names[VALIDATION:])}"
    )
    made = metricforge.train(
        dataset=f"folder:path={photos},size={SIDE}", split=split, epochs=6, device="cpu",
        backbone="conv4:channels=16", dim=16, protocols=["retrieval"], orientations=1,
        out=tmp_path_factory.mktemp("run") / "run",
    )  # fmt: skip
    return made.path


@pytest.fixture(scope="session")
def tested(photos: Path) -> list[Path]:
    """The files of the test classes."""
    return [path for label in range(VALIDATION, CLASSES) for path in files_of(photos, label)]


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> metricforge.Export:
    """The run as an ONNX file that resizes."""
    out = tmp_path_factory.mktemp("export") / "model.onnx"
    return metricforge.export(run, out, preprocessing=True, licence="CC0 1.0")


def files_of(photos: Path, label: int) -> list[Path]:
    return sorted((photos / f"{label:02}").glob("*.png"))
