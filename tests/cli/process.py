"""Runs the real command as a process."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

COMMAND = Path(sys.executable).with_name("metricforge")


def metricforge(
    *words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `metricforge WORDS...` to its end."""
    return subprocess.run(
        [str(COMMAND), *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
        cwd=cwd,
        timeout=300,
        check=False,
    )


def start(*words: object) -> subprocess.Popen[str]:
    """Start `metricforge WORDS...` in the background."""
    return subprocess.Popen(
        [str(COMMAND), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


ROOT = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2")


def wrapped(what: str, *words: object, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    """Run `metricforge WORDS...` by one or two ranks that :mod:`tests.cli.wrapped` befalls."""
    begin = TORCHRUN if ranks == 2 else (sys.executable,)
    return subprocess.run(
        [*begin, "-m", "tests.cli.wrapped", what, *map(str, words)],
        capture_output=True, text=True, timeout=300, check=False, cwd=ROOT,
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
