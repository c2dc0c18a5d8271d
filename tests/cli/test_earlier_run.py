"""A run of an earlier metricforge is still read: nothing in its folder names a module."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.process import metricforge

EARLIER = Path(__file__).parent / "earlier_run"
"""What a run of November 2026 has left of itself: config, split, summary and model."""


def test_it_is_evaluated_to_the_metrics_that_it_recorded(tmp_path: Path) -> None:
    shutil.copytree(EARLIER, tmp_path / "run")
    done = metricforge("evaluate", tmp_path / "run", "--protocol", "retrieval", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["results"]["trained"]
    recorded = json.loads((EARLIER / "summary.json").read_text())["results"]["trained"]
    for name, estimate in recorded.items():
        # Another machine rounds otherwise, and may take another of two that are equally near.
        assert found[name]["value"] == pytest.approx(estimate["value"], abs=0.01)


def test_its_config_is_read(tmp_path: Path) -> None:
    words = ("--epochs", 1, "--images", 64, "--threads", 1, "--no-test", "--quiet")
    config = EARLIER / "config.toml"
    done = metricforge("train", "--config", config, *words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
