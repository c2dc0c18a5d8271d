"""A run on files of printed characters, of many sizes, and the files themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

import metricforge
from tests.glyph_files import write_glyphs
from tests.small_runs import folder_run

pytest.importorskip("onnx", reason="requires metricforge[export]")
pytest.importorskip("onnxruntime", reason="requires metricforge[export]")
pytest.importorskip("onnxscript", reason="requires metricforge[export]")

CLASSES, EACH, SIDE = 36, 8, 24
TRAIN, VALIDATION = 16, 24
"""The first test class comes after so many training and validation classes."""


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of coloured, square PNG files, each of its own size, around SIDE."""
    return write_glyphs(tmp_path_factory.mktemp("photos") / "all", CLASSES, EACH, SIDE)


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    options = {"size": SIDE, "epochs": 6, "backbone": "conv4:channels=16"}
    return folder_run(photos, out, CLASSES, TRAIN, VALIDATION, **options)


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
