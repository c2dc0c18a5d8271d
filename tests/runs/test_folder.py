"""What the folder of a run still holds after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from metricforge.errors import ArtefactError, UsageError
from metricforge.runs.folder import OF_A_RUN, RunFolder


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A folder with something by every name that a run may leave, and something else."""
    for name in OF_A_RUN:
        (tmp_path / name).write_text("")
    RunFolder(tmp_path).config.write_text("")
    return tmp_path


@pytest.mark.parametrize("removed", range(1, len(OF_A_RUN)))
def test_a_run_that_was_partly_removed_can_be_overwritten_and_not_gone_on_with(
    used: Path, removed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        calls.append(path)
        if len(calls) > removed:
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            RunFolder(used).clear()
    with pytest.raises(ArtefactError, match="not the folder of a run"):
        RunFolder.open(used)
    RunFolder.refuse_used(used, overwrite=True)
    with RunFolder.created(used, overwrite=True):
        assert {path.name for path in used.iterdir()} == {".lock", "plots", "log.txt"}


def test_another_file_is_none_of_a_runs(used: Path) -> None:
    (used / "thesis.txt").write_text("")
    RunFolder(used).config.unlink()
    with pytest.raises(UsageError, match="no run to overwrite"):
        RunFolder.refuse_used(used, overwrite=True)


def test_a_damaged_line_is_dropped_at_the_end_alone(tmp_path: Path) -> None:
    folder, path = RunFolder(tmp_path), tmp_path / "metrics.jsonl"
    assert folder.records(path) == []
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"ste\n\0\xff\n')
    assert folder.records(path) == [{"step": 1}, {"step": 2}]
    path.write_bytes(b'{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ArtefactError, match=r"metrics\.jsonl:2 is damaged"):
        folder.records(path)
