"""The plugin in plugins/README.md is built, installed and trained with, as its reader would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from metricforge.contracts import KINDS
from tests.cli.process import metricforge

GUIDE = (Path(__file__).parents[1] / "plugins" / "README.md").read_text()


def block(language: str) -> str:
    """The first code block of a language."""
    match = re.search(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert match, f"plugins/README.md has no {language} block"
    return match[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the guide's distribution, installed by pip."""
    package = tmp_path_factory.mktemp("nearest-pairs")
    (package / "nearest_pairs.py").write_text(block("python"))
    (package / "pyproject.toml").write_text(block("toml"))
    target = package / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
    subprocess.run([*map(str, pip), str(package)], check=True, capture_output=True)
    return target


def test_the_plugin_has_eleven_lines() -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) == 11


def test_it_is_listed_and_trains(installed: Path, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(installed)}
    records = json.loads(metricforge("plugins", "miner", "--json", env=env).stdout)
    found = {record["name"]: record for record in records}
    assert found["nearest-pairs"]["distribution"] == "nearest-pairs"
    assert (
        found["nearest-pairs"]["summary"] == "The closest images of the batch, of one class or not."
    )
    done = metricforge(
        "train", "--epochs", "1", "--orientations", "1", "--sampler", "balanced", "--miner",
        "nearest-pairs:most=8", "--loss", "contrastive", "--out", tmp_path / "r", env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["tuples"] == 8


def test_every_kind_and_what_it_may_ask_for_is_documented() -> None:
    for kind in KINDS.values():
        row = next(line for line in GUIDE.splitlines() if f"`{kind.group}`" in line)
        for name in kind.offers:
            assert f"`{name}" in row
