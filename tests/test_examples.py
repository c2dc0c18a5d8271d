"""The examples run, and reach what they are for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.exhaustive
def test_the_minimal_loop_learns_classes_that_it_does_not_see() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "minimal_loop.py")],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    untrained, *epochs = map(float, re.findall(r"recall@1 (\d\.\d+)", done.stdout))
    assert len(epochs) == 1
    assert epochs[-1] > untrained + 0.3
