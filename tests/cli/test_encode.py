"""What `metricforge encode`, `index` and `search` refuse to write or show."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.process import metricforge
from tests.cli.small_model import make_model
from tests.cli.small_run import make_files

INFINITE, NONE = float("inf"), float("nan")


@pytest.mark.fault(62)
@pytest.mark.parametrize("wrong", [{"weight": NONE}, {"weight": INFINITE}, {"std": NONE}])
def test_an_embedding_that_is_no_number_is_exit_code_7_with_its_image(
    tmp_path: Path, wrong: dict[str, float]
) -> None:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run", **wrong)
    for command, out in (("encode", "e.npy"), ("index", "new")):
        done = metricforge(command, "run", "files/3", "--out", out, cwd=tmp_path)
        assert done.returncode == 7, done.stdout
        assert "error: the embedding of 'files/3/18.png' is NaN or infinite" in done.stderr
        assert done.stderr.count("\n") == 1
        assert {path.name for path in tmp_path.iterdir()} == {"files", "run"}


@pytest.mark.fault(62)
def test_an_image_that_is_looked_for_is_named_too(tmp_path: Path) -> None:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run", mean=0.0, std=1e-45)  # only what is black does not overflow
    Image.new("L", (16, 16)).save(tmp_path / "black.png")
    done = metricforge("index", "run", "black.png", "--out", "index", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = metricforge("search", "run", "index", "black.png", "files/3", cwd=tmp_path)
    assert done.returncode == 7, done.stdout
    assert "the embedding of 'files/3/18.png' is NaN or infinite" in done.stderr
    assert done.stdout == ""
