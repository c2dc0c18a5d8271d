"""Several commands that write one place at once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from metricforge.image_index import ImageIndex
from metricforge.loading import load
from tests.cli.process import COMMAND, metricforge
from tests.cli.small_model import make_model
from tests.cli.small_run import make_files


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run")
    return tmp_path


def at_once(place: Path, command: str, out: str) -> list[list[str]]:
    """Run a command on each of three classes, all into `out`; the names of each one's images."""
    classes = [place / "files" / label for label in "123"]
    writers = [
        subprocess.Popen([COMMAND, command, "run", folder, "--out", out], cwd=place)
        for folder in classes
    ]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0, 0]
    return [sorted(map(str, folder.iterdir())) for folder in classes]


@pytest.mark.fault(61)
def test_an_index_that_several_write_is_whole_and_that_of_one(place: Path) -> None:
    given = at_once(place, "index", "index")
    names = ImageIndex.open(place / "index").contents.names
    assert sorted(names) in given
    done = metricforge("search", "run", "index", names[0], "--json", cwd=place)
    assert json.loads(done.stdout)[names[0]][0]["name"] == names[0]
    assert {path.name for path in place.iterdir()} == {"files", "run", "index"}


@pytest.mark.exhaustive
@pytest.mark.fault(61)
def test_embeddings_that_several_write_have_their_own_names_beside_them(place: Path) -> None:
    given = at_once(place, "encode", "e.npy")
    names = json.loads((place / "e.json").read_text())
    assert sorted(names) in given
    expected = load(place / "run", device="cpu").encode(names)
    np.testing.assert_array_equal(np.load(place / "e.npy"), expected)
    assert {path.name for path in place.iterdir()} == {"files", "run", "e.npy", "e.json"}


@pytest.mark.fault(61)
def test_of_several_new_plugins_by_one_name_one_is_written(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [COMMAND, "plugins", "new", "sampler", "mine"], cwd=tmp_path, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    told = [writer.communicate(timeout=300)[1] for writer in writers]
    codes = sorted(writer.returncode for writer in writers)
    assert codes[0] == 0
    assert set(codes[1:]) == {2}, told
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "pyproject.toml").is_file()
