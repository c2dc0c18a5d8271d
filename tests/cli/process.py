"""Runs the real command as a process."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.cli.forked import LONGEST, Forked, ranked

COMMAND = Path(sys.executable).with_name("metricforge")
ROOT = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2")


def metricforge(
    *words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `metricforge WORDS...` to its end, in a process of its own."""
    return start(*words, env=env, cwd=cwd).done()


def start(*words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Forked:
    """Start `metricforge WORDS...` in the background."""
    return Forked(words, {**os.environ, "COLUMNS": "200", **(env or {})}, cwd or Path.cwd())


def start_wrapped(what: str, *words: object) -> Forked:
    """Start it in a process that :mod:`tests.cli.wrapped` befalls."""
    env = {**os.environ, "COLUMNS": "200"}
    return Forked((what, *words), env, ROOT, "tests.cli.wrapped", (ROOT,))


def wrapped(what: str, *words: object, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    """Run `metricforge WORDS...` by one or more ranks that :mod:`tests.cli.wrapped` befalls."""
    if ranks == 1:
        return start_wrapped(what, *words).done()
    given = {"cwd": ROOT, "module": "tests.cli.wrapped", "path": (ROOT,)}
    return ranked(ranks, (what, *words), **given)


def by_torchrun(what: str, *words: object, restarts: int) -> subprocess.CompletedProcess[str]:
    """The same by two ranks that torchrun starts."""
    begin = [*TORCHRUN, f"--max-restarts={restarts}", "-m", "tests.cli.wrapped"]
    return subprocess.run(
        [*begin, what, *map(str, words)],
        capture_output=True, text=True, timeout=LONGEST, check=False, cwd=ROOT,
    )  # fmt: skip


def on_a_terminal(*words: object, columns: int, cwd: Path | None = None) -> str:
    """What a terminal of this width shows of a command that ends well, colours and all."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = Forked(words, env, cwd or Path.cwd(), terminal=os.ttyname(theirs))
    os.set_blocking(ours, False)
    shown, ended = b"", False
    # Read while it runs, and once more when it has ended.
    while not ended:
        ended = process.poll() is not None
        try:
            while part := os.read(ours, 4096):
                shown += part
        except BlockingIOError:
            time.sleep(0.01)
    os.close(theirs)
    os.close(ours)
    assert process.done().returncode == 0, shown
    return shown.decode().replace("\r", "")


def first_on_path(folder: Path) -> dict[str, str]:
    """The variable that has Python look for modules there first, then where the tests do."""
    present = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), present]))}


def uncoloured(shown: str) -> str:
    """The same without what sets colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)
