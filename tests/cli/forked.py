"""Commands as processes that are forked, not started: what :mod:`tests.cli.forking` is asked."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

LONGEST = 600
"""Seconds after which a command is taken to hang, on however busy a machine."""


@cache
def server(python: str) -> subprocess.Popen[str]:
    """The process that forks, of this interpreter; one for all tests of this process."""
    process = subprocess.Popen(
        [python, "-P", str(Path(__file__).with_name("forking.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    atexit.register(process.kill)
    return process


class Forked:
    """A command that runs; what there is of it is as in :class:`subprocess.Popen`."""

    def __init__(
        self,
        words: Sequence[object],
        env: Mapping[str, str],
        cwd: Path,
        module: str = "metricforge.cli",
        path: Sequence[object] = (),
        python: str = sys.executable,
        terminal: str = "",
    ) -> None:
        self.args = ["metricforge", *map(str, words)]
        self.returncode: int | None = None
        self._server = server(python)
        self._folder = Path(mkdtemp())
        files = [self._folder / name for name in ("out", "err")]
        for file in files:
            file.touch()
        out, err = (terminal or str(file) for file in files)
        given = env.get("PYTHONPATH", "").split(os.pathsep)
        self.pid: int = self._ask(
            begin={
                "module": module, "words": self.args[1:], "env": dict(env), "cwd": str(cwd),
                "path": [*map(str, path), *filter(None, given)], "out": out, "err": err,
            }
        )  # fmt: skip

    def _ask(self, **asked: Any) -> Any:
        print(json.dumps(asked), file=self._server.stdin, flush=True)
        answer = self._server.stdout.readline() if self._server.stdout else ""
        assert answer, f"{self.args}: the process that forks was lost"
        return json.loads(answer)

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        if self.returncode is None:
            self.returncode = self._ask(ended=self.pid)
        return self.returncode

    def wait(self, timeout: float = LONGEST) -> int:
        """The exit code, once it has ended."""
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                self.kill()
                raise AssertionError(f"{self.args} takes more than {timeout:g} s: {self.shown()}")
            time.sleep(0.01)
        return code

    def shown(self) -> tuple[str, str]:
        """What it has written to stdout and stderr so far."""
        out, err = ((self._folder / name).read_text() for name in ("out", "err"))
        return out, err

    def communicate(self, timeout: float = LONGEST) -> tuple[str, str]:
        """What it wrote, once it has ended."""
        self.wait(timeout)
        shown = self.shown()
        shutil.rmtree(self._folder)
        return shown

    def done(self) -> subprocess.CompletedProcess[str]:
        """The same as of :func:`subprocess.run`."""
        out, err = self.communicate()
        return subprocess.CompletedProcess(self.args, self.wait(), out, err)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def ranked(count: int, words: Sequence[object], **given: Any) -> subprocess.CompletedProcess[str]:
    """Run a command by some ranks, as torchrun does: where one fails, the others are ended."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    common = {
        **os.environ, "COLUMNS": "200", "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    ranks = [
        Forked(words, {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}, **given)
        for rank in range(count)
    ]
    code = 0
    while not code and None in (codes := [rank.poll() for rank in ranks]):
        code = next(filter(None, codes), 0)
        time.sleep(0.01)
    if code:
        for rank in ranks:
            rank.send_signal(signal.SIGTERM)
    ends = [rank.done() for rank in ranks]
    code = code or next((end.returncode for end in ends if end.returncode), 0)
    out, err = ("".join(parts) for parts in zip(*((e.stdout, e.stderr) for e in ends), strict=True))
    return subprocess.CompletedProcess(ends[0].args, code, out, err)
