"""A page of a small run on image files, one of whose classes has a hostile name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import metricforge
from metricforge.exploring.explore import Explored
from tests.glyph_files import write_glyphs
from tests.small_runs import folder_run

CLASSES, EACH, SIDE = 30, 6, 24
TRAIN, VALIDATION = 14, 18
HOSTILE = "30 <img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glyphs(tmp_path_factory.mktemp("photos") / "all", CLASSES, EACH, SIDE)


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    options = {"size": SIDE, "epochs": 2, "backbone": "conv4:channels=8"}
    return folder_run(photos, out, CLASSES, TRAIN, VALIDATION, **options)


@pytest.fixture(scope="session")
def made(run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Explored:
    """The page of the images of all classes, and of one more."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(photos, folder / "all")
    shutil.copytree(photos / f"{CLASSES - 1:02}", folder / "all" / HOSTILE)
    spec = f"folder:path={folder / 'all'}"
    return metricforge.explore(run, folder / "page.html", images=spec, part="all", device="cpu")
