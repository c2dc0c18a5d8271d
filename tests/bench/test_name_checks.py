"""What a suite names is looked up before anything trains."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metricforge import registry
from metricforge.bench import read_suite
from metricforge.bench.name_checks import check_names
from metricforge.contracts import KINDS
from metricforge.errors import UsageError


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Looks up what a suite of these losses names, one of which is of a plugin that fails."""
    (tmp_path / "fails_for_a_test.py").write_text("raise RuntimeError('no such library')")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("fails", "fails_for_a_test:Loss", KINDS["loss"].group)
    points = [*registry.installed_points(), point]
    monkeypatch.setattr(registry, "installed_points", lambda: points)

    def check(losses: str) -> None:
        (tmp_path / "suite.toml").write_text(
            f'[base]\ndataset = "digits"\nsampler = "hard-triplet"\n[axes]\nloss = [{losses}]\n'
        )
        check_names(read_suite(tmp_path / "suite.toml"))

    return check


def test_a_plugin_that_fails_costs_its_own_rows_alone(checked: Callable[[str], None]) -> None:
    checked('"triplet", "fails"')
    with pytest.raises(UsageError, match=r"suite 'suite', fial.*did you mean 'fails'"):
        checked('"triplet", "fails", "fial"')
    with pytest.raises(UsageError, match=r"suite 'suite', triplet:margim=1.*margim"):
        checked('"fails", "triplet:margim=1"')
