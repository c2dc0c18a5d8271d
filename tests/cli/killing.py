"""Runs the command again and again in processes of their own, each killed a little later.

    python -m tests.cli.killing WHAT FIRST LAST FOLDER WORDS...

WHAT is "step" (before a training step) or "write" (before a call that writes to the disk for good:
fsync, rename, replace). The n-th such call, n from FIRST to LAST, ends its process by SIGKILL; then
`metricforge train --auto-resume WORDS... --out FOLDER/n` runs to its end. Printed is a line of JSON
for each n: whether the process was killed, from which step the run went on, and what it ended with.
A run that is not killed any more is the last one. The first line, of n = 0, is of a run that nobody
touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import metricforge.cli
import metricforge.training.loop


def killed_at(number: int, function: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    """The same function, which kills its process in place of the call with this number."""

    def counted(*given: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **options)

    return counted


def arm(what: str, number: int) -> None:
    """Have this process killed at the n-th step, or the n-th write."""
    calls: list[int] = []
    if what == "step":
        loop: Any = metricforge.training.loop
        loop.take_step = killed_at(number, loop.take_step, calls)
        return
    for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "replace")):
        setattr(owner, name, killed_at(number, getattr(owner, name), calls))


def in_a_process(act: Callable[[], Any]) -> int:
    """Act in a forked process; its exit code, negative for a signal."""
    child = os.fork()
    if not child:
        code = 1
        try:
            act()
            code = 0
        except SystemExit as done:
            code = int(done.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(folder: Path, words: list[str], before: Callable[[], None] = lambda: None) -> int:
    """The command in a process of its own; its exit code."""

    def act() -> None:
        before()
        run(folder, words)

    return in_a_process(act)


def run(folder: Path, words: list[str]) -> None:
    """The command, in this process."""
    sys.argv = ["metricforge", "train", "--quiet", "--auto-resume", *words, "--out", str(folder)]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            metricforge.cli.main()
        except SystemExit as done:
            # The command ends its process; this one, only where it failed.
            if done.code:
                raise


def ending(folder: Path) -> dict[str, Any]:
    """What a run ended with: its weights by their hash, and its records without the times."""

    def timeless(record: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in record.items() if key != "seconds"}

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    weights = (folder / "model" / "weights.safetensors").read_bytes()
    return {
        "weights": hashlib.sha256(weights).hexdigest(),
        "metrics": [timeless(json.loads(line)) for line in lines],
        "summary": timeless(json.loads((folder / "summary.json").read_text())),
    }


def gone_on(folder: Path) -> int:
    """The step that a run was last gone on with from, by its log; 0 where it began anew."""
    steps = re.findall(r"resumed at step (\d+)", (folder / "log.txt").read_text())
    return int(steps[-1]) if steps else 0


def main() -> None:
    """Kill, go on, and print, until a run is not killed any more."""
    what, first, last, folder, *words = sys.argv[1:]
    # In this process, which then has loaded once what each of its children needs.
    run(Path(folder) / "0", words)
    whole = {"at": 0, "code": 0, "resumed": 0, "ending": ending(Path(folder) / "0")}
    # Else each child would print what is left in the buffer that it inherits.
    print(json.dumps(whole), flush=True)
    for number in range(int(first), int(last) + 1):
        place = Path(folder) / str(number)
        code = train(place, words, lambda number=number: arm(what, number))
        resumed = train(place, words) if code == -signal.SIGKILL else code
        found = {"at": number, "code": code, "resumed": resumed, "from": gone_on(place)}
        print(json.dumps(found | {"ending": ending(place) if resumed == 0 else None}), flush=True)
        if code != -signal.SIGKILL:
            return


if __name__ == "__main__":
    main()
