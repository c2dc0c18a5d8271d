"""A folder is one process's at a time, and what a dead one left of its lock harms nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from metricforge.errors import InUseError, ResourceError
from metricforge.runs import lock


def test_a_second_one_is_refused_by_the_name_of_the_first(tmp_path: Path) -> None:
    with lock.held(tmp_path / "runs" / "a"):
        with (
            pytest.raises(InUseError, match=rf"a is in use by process {os.getpid()} on \S+, since"),
            lock.held(tmp_path / "runs" / "a"),
        ):
            pass
        with lock.held(tmp_path / "runs" / "b"):
            pass
    with lock.held(tmp_path / "runs" / "a"):
        pass


@pytest.mark.parametrize("left", ["", "rubbish", '{"process": 1}'])
def test_what_was_left_in_the_file_harms_nothing(left: str, tmp_path: Path) -> None:
    file = tmp_path / lock.NAME
    file.write_text(left)
    with lock.held(tmp_path):
        assert str(os.getpid()) in file.read_text()
        file.write_text(left)
        with pytest.raises(InUseError, match="in use by another process; "), lock.held(tmp_path):
            pass


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(handle: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "lock_descriptor", none)
    with pytest.raises(ResourceError, match=r"can't lock .*\.lock: No locks available"):
        lock.held(tmp_path).__enter__()


def test_a_folder_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"can't write to .*file/a: Not a directory"):
        lock.held(tmp_path / "file" / "a").__enter__()
