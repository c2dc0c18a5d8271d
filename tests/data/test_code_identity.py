"""The code of a module is another one when a file that it needs has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOWN = "import plug; from metricforge.data.code_identity import code_of; print(code_of('plug'))"


def code(folder: Path) -> str:
    """As a new process sees it."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", SHOWN],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A package with a helper, and a module beside it."""
    (tmp_path / "plug" / "deep").mkdir(parents=True)
    (tmp_path / "plug" / "__init__.py").write_text(
        "from plug.helper import squash\nfrom beside import scale\nclass Net: pass\n"
    )
    (tmp_path / "plug" / "helper.py").write_text("def squash(x): return x\n")
    (tmp_path / "plug" / "deep" / "__init__.py").write_text("")
    (tmp_path / "plug" / "deep" / "more.py").write_text("A = 1\n")
    (tmp_path / "beside.py").write_text("def scale(x): return x\n")
    (tmp_path / "other.py").write_text("A = 1\n")
    return tmp_path


@pytest.mark.fault(139)
@pytest.mark.parametrize(
    "file", ["plug/__init__.py", "plug/helper.py", "plug/deep/more.py", "beside.py"]
)
def test_code_is_that_of_all_files_that_it_needs(file: str, plugin: Path) -> None:
    before = code(plugin)
    assert code(plugin) == before
    (plugin / "other.py").write_text("A = 2\n")
    assert code(plugin) == before, "nothing imports it"
    with (plugin / file).open("a") as opened:
        opened.write("B = 2\n")
    assert code(plugin) != before


@pytest.mark.fault(139)
def test_what_is_installed_is_known_by_its_list_of_files(plugin: Path) -> None:
    info = plugin / "plug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("plug\n")
    (info / "RECORD").write_text("plug/__init__.py,sha256=a,1\nplug/helper.py,sha256=b,1\n")
    before = code(plugin)
    (info / "RECORD").write_text("plug/__init__.py,sha256=a,1\nplug/helper.py,sha256=c,1\n")
    assert code(plugin) != before
    # Installed in place: the list has none of its files, and these are looked at.
    (info / "RECORD").write_text("plug-1.0.dist-info/METADATA,,\n__editable__.plug.pth,,\n")
    in_place = code(plugin)
    (plugin / "plug" / "helper.py").write_text("def squash(x): return -x\n")
    assert code(plugin) != in_place
