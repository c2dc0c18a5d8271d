"""Image files of drawn glyphs, and a run on the first of their classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.glyph_files import write_glyphs
from tests.small_runs import folder_run

CLASSES, EACH, SIDE = 20, 8, 16
TESTED = range(12, CLASSES)
"""The test classes."""


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glyphs(tmp_path_factory.mktemp("photos") / "all", CLASSES, EACH, SIDE)


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    options = {"size": SIDE, "epochs": 2, "backbone": "conv4:channels=8"}
    return folder_run(photos, out, CLASSES, 8, TESTED[0], **options)


@pytest.fixture(scope="session")
def held(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the first five images of each test class; the others are queries."""
    folder = tmp_path_factory.mktemp("held") / "images"
    for label in TESTED:
        (folder / f"{label:02}").mkdir(parents=True)
        for number in range(5):
            file = Path(f"{label:02}", f"{number}.png")
            (folder / file).write_bytes((photos / file).read_bytes())
    return folder


@pytest.fixture(scope="session")
def queries(photos: Path) -> list[Path]:
    """Twenty images of the test classes that `held` has not."""
    return [photos / f"{label:02}" / f"{number}.png" for number in (5, 6, 7) for label in TESTED][
        :20
    ]
