"""stdout and stderr that are full or closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.process import COMMAND
from tests.cli.small_model import make_model
from tests.cli.small_run import make_files

FULL = "error: can't print the result to stdout: No space left on device.\n"
CLOSED = "error: stdout, where the result goes, is closed; open it, as by >/dev/null.\n"
QUICK = ("--version", "--help", "train --help", "plugins", "plugins show sampler hard-triplet")
BUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"])


def shell(line: str, unbuffered: str = "", cwd: Path | None = None) -> tuple[int, str]:
    """Exit code and stderr of a line of bash in which `metricforge` is the command."""
    path = f"{COMMAND.parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": unbuffered, "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        capture_output=True, text=True, env=env, cwd=cwd, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@BUFFERED
@pytest.mark.parametrize("command", QUICK)
@pytest.mark.fault(63)
def test_a_result_that_can_not_be_printed_is_exit_code_6(command: str, unbuffered: str) -> None:
    assert shell(f"metricforge {command} >/dev/full", unbuffered) == (6, FULL)
    assert shell(f"metricforge {command} >&-", unbuffered) == (6, CLOSED)


@pytest.mark.parametrize("unbuffered", ["", pytest.param("1", marks=pytest.mark.exhaustive)])
@pytest.mark.fault(63)
def test_so_it_is_of_commands_that_load_torch(tmp_path: Path, unbuffered: str) -> None:
    make_files(tmp_path / "files")
    make_model(tmp_path / "run")
    for command in ("data check files", "encode run files --out e.npy"):
        line = f"metricforge {command} >/dev/full"
        assert shell(line, unbuffered, cwd=tmp_path) == (6, FULL)


@pytest.mark.fault(63)
def test_stdout_that_is_closed_is_told_before_any_work(tmp_path: Path) -> None:
    line = "metricforge train --epochs 1 --out run >&-"
    assert shell(line, cwd=tmp_path) == (6, CLOSED)
    assert list(tmp_path.iterdir()) == []


def test_a_line_of_an_unbuffered_python_comes_at_once() -> None:
    # It ends without flushing: what it keeps is lost.
    code = (
        "import os; from metricforge.cli.streams import watch; watch(); print('first'); os._exit(0)"
    )
    for option, shown in (("-u", "first\n"), ("-I", "")):
        words = [sys.executable, option, "-c", code]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert done.stdout == shown


@BUFFERED
@pytest.mark.fault(63)
def test_messages_that_can_not_be_printed_change_no_exit_code(unbuffered: str) -> None:
    for stderr in ("2>/dev/full", "2>&-"):
        assert shell(f"metricforge plugins {stderr} >/dev/null", unbuffered) == (0, "")
        assert shell(f"metricforge nonsense {stderr}", unbuffered) == (2, "")
        assert shell(f"metricforge plugins {stderr} >&-", unbuffered) == (6, "")


@BUFFERED
@pytest.mark.parametrize("command", QUICK)
@pytest.mark.fault(22)
def test_a_reader_who_has_enough_is_told_nothing(command: str, unbuffered: str) -> None:
    _, stderr = shell(f"metricforge {command} | head -c 1", unbuffered)
    assert stderr == ""


@BUFFERED
@pytest.mark.fault(63)
def test_a_closed_pipe_of_messages_changes_no_exit_code(unbuffered: str) -> None:
    told = "metricforge train --bogus 2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}"
    assert shell(told, unbuffered)[0] == 2


def test_a_stream_that_the_program_redirects_is_used() -> None:
    program = (
        "import contextlib, io, sys\n"
        "from metricforge.cli import main\n"
        "found = io.StringIO()\n"
        "sys.argv = ['metricforge', '--version']\n"
        "with contextlib.redirect_stdout(found), contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "assert found.getvalue().startswith('metricforge, version'), found.getvalue()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.fault(129)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_name_that_stdout_can_not_encode_is_escaped(tmp_path: Path, encoding: str) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(6, 3)))
    (tmp_path / "y.txt").write_text("Café\nCafé\n漢\n漢\na\na\n", encoding="utf-8")
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    words = ["evaluate", "--embeddings", "x.npy", "--labels", "y.txt", "--protocol", "retrieval"]
    done = subprocess.run(
        [COMMAND, *words], capture_output=True, cwd=tmp_path, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert "\\u6f22" in shown
    assert ("Café" in shown) == (encoding == "latin-1")
