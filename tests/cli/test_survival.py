"""A training that is killed, wherever it is: it goes on to the same end, by the real command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.small_run import make_images, words

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of a small run."""
    return make_images(tmp_path_factory.mktemp("images"))


def killed(what: str, first: int, last: int, folder: Path, *given: object) -> list[dict[str, Any]]:
    """What :mod:`tests.cli.killing` tells of each run."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.killing", what, str(first), str(last), str(folder),
         *map(str, given)],
        capture_output=True, text=True, timeout=600, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.fault(1)
@pytest.mark.parametrize(
    ("first", "last", "steps"),
    [
        (6, 6, [4]),
        # The last is not killed any more.
        pytest.param(1, 9, [0, 0, 2, 2, 4, 4, 6, 6, 0], marks=pytest.mark.exhaustive),
    ],
    ids=["one", "all"],
)
def test_killed_at_any_step_it_ends_in_the_same_bytes(
    images: Path, tmp_path: Path, first: int, last: int, steps: list[int]
) -> None:
    """Eight steps, four an epoch; what it goes on from is the last step that was saved."""
    runs = killed("step", first, last, tmp_path, *words(images), "--save-steps", "2")
    whole, *broken = runs
    assert [run["from"] for run in broken] == steps
    for run in broken:
        assert run["code"] == (0 if run["at"] == 9 else -signal.SIGKILL)
        assert run["ending"] == whole["ending"], f"killed at step {run['at']}"


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("first", "last", "steps"),
    [
        (58, 58, {4}),
        pytest.param(4, 11, {0}, marks=pytest.mark.exhaustive),
        pytest.param(54, 62, {4}, marks=pytest.mark.exhaustive),
    ],
    ids=["one", "before the first checkpoint", "where the end of an epoch replaces one"],
)
def test_killed_while_it_writes_it_ends_in_the_same_bytes(
    images: Path, tmp_path: Path, first: int, last: int, steps: set[int]
) -> None:
    """One checkpoint is kept; the one before is used until the next is whole."""
    saving = ("--save-steps", "1", "--keep", "1")
    whole, *broken = killed("write", first, last, tmp_path, *words(images), *saving)
    assert len(broken) == last - first + 1
    for run in broken:
        assert run["code"] == -signal.SIGKILL
        assert run["ending"] == whole["ending"], f"killed at write {run['at']}"
    gone_on = [run["from"] for run in broken]
    assert set(gone_on) == steps
    assert gone_on == sorted(gone_on)
    assert not list(tmp_path.rglob("checkpoints/.*"))
