"""The command in a process that something befalls; what it is, the first word says.

    python -m tests.cli.wrapped WHAT WORDS...

- `cars=FOLDER`: the annotations of `cars` there are taken for the published ones.
- `decoding`: image files are never kept in memory, as in a run whose images don't fit.
- `dying=N`: the second of two ranks is killed before its N-th step.
- `killed=N`: this process is.
- `printing`: each step prints a line, as a component of a user may.
- `nohup`: the signal of a lost terminal is ignored.
- `full=N`: the disk is full from the N-th file that is synced.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

import metricforge.cli
import metricforge.data.images
import metricforge.training.loop
from tests.cli.killing import arm
from tests.standard.layouts import publish


def befall(what: str) -> None:
    """Have it happen in this process."""
    name, _, number = what.partition("=")
    if name == "cars":
        publish(Path(number))
    elif name == "decoding":
        metricforge.data.images.open_images.__defaults__ = (0, None)
    elif name == "killed" or (name == "dying" and os.environ.get("RANK") == "1"):
        arm("step", int(number))
    elif name == "printing":
        _print_at_each_step()
    elif name == "nohup":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    elif name == "full":
        _fill_the_disk(int(number))


def _print_at_each_step() -> None:
    loop: Any = metricforge.training.loop
    take_step = loop.take_step

    def printing(*given: Any, **options: Any) -> Any:
        print("a line of a component")
        return take_step(*given, **options)

    loop.take_step = printing


def _fill_the_disk(number: int) -> None:
    calls: list[int] = []
    fsync = os.fsync

    def full(file: Any) -> None:
        calls.append(1)
        if len(calls) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    os.fsync = full


def main() -> None:
    """The command, befallen."""
    what, *words = sys.argv[1:]
    befall(what)
    sys.argv = ["metricforge", *words]
    metricforge.cli.main()


if __name__ == "__main__":
    main()
