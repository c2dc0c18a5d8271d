"""Runs the real command as a process."""

from __future__ import annotations

import atexit
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Timer

COMMAND = Path(sys.executable).with_name("metricforge")
ROOT = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2")
LONGEST = 300
"""Seconds after which a command is taken to hang."""


def metricforge(
    *words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `metricforge WORDS...` to its end, in a process of its own."""
    command = [str(COMMAND), *map(str, words)]
    given = {**os.environ, "COLUMNS": "200", **(env or {})}
    if env is None:
        return _forked("metricforge.cli", command, given, cwd or Path.cwd())
    # What a variable does, it may do as early as a library is loaded.
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=given,
        cwd=cwd,
        timeout=LONGEST,
        check=False,
    )


@cache
def _forking() -> subprocess.Popen[str]:
    """The process that :mod:`tests.cli.forking` describes; one for all tests of this one."""
    process = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("forking.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    atexit.register(process.kill)
    return process


def _forked(
    module: str, command: list[str], env: Mapping[str, str], cwd: Path, path: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """What became of a command whose process was forked from one that has loaded the libraries."""
    process = _forking()
    with NamedTemporaryFile() as out, NamedTemporaryFile() as err:
        asked = {
            "module": module, "words": command[1:], "env": dict(env), "cwd": str(cwd),
            "path": path, "out": out.name, "err": err.name,
        }  # fmt: skip
        hanging = Timer(LONGEST, process.kill)
        hanging.start()
        try:
            print(json.dumps(asked), file=process.stdin, flush=True)
            code = process.stdout.readline()
        finally:
            hanging.cancel()
        shown, said = (Path(file.name).read_text() for file in (out, err))
    assert code, f"{command} took more than {LONGEST} seconds, or its process was lost: {said}"
    return subprocess.CompletedProcess(command, int(code), shown, said)


def start(*words: object) -> subprocess.Popen[str]:
    """Start `metricforge WORDS...` in the background."""
    return subprocess.Popen(
        [str(COMMAND), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wrapped(
    what: str, *words: object, ranks: int = 1, restarts: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run `metricforge WORDS...` by one or two ranks that :mod:`tests.cli.wrapped` befalls."""
    if ranks == 1:
        command = ["metricforge", what, *map(str, words)]
        return _forked("tests.cli.wrapped", command, os.environ, ROOT, (str(ROOT),))
    begin = [*TORCHRUN, f"--max-restarts={restarts}", "-m", "tests.cli.wrapped"]
    return subprocess.run(
        [*begin, what, *map(str, words)],
        capture_output=True, text=True, timeout=LONGEST, check=False, cwd=ROOT,
    )  # fmt: skip


def on_a_terminal(*words: object, columns: int, cwd: Path | None = None) -> str:
    """What a terminal of this width shows of a command that ends well, colours and all."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    command = [str(COMMAND), *map(str, words)]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env, cwd=cwd)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how a terminal ends on Linux
        pass
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode().replace("\r", "")


def uncoloured(shown: str) -> str:
    """The same without what sets colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)
