"""What the processes that carry out a suite are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from metricforge.bench import Suite, carry_out, runner
from metricforge.bench.suite import Approach


class _NotedError(Exception):
    """Raised in the place of a training."""


def test_workers_are_told_the_whole_path_for_they_may_be_in_another_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[Path] = []

    def run_planned(suite: Suite, planned: object, out: Path, *more: object) -> None:
        told.append(out)
        raise _NotedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "run_planned", run_planned)
    suite = Suite("s", "A title", {"dataset": "digits"}, (Approach("a"),))
    with pytest.raises(_NotedError):
        list(carry_out(suite, Path("bench/s")))
    assert told == [tmp_path / "bench" / "s"]
