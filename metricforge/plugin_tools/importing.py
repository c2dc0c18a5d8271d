"""Importing components to see whether they can be: in processes of their own, with patience.

A plugin that raises is told of; so is one that ends its process or does not come back. Patience is
counted in what the process does, so that no busy machine makes a slow plugin a broken one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from metricforge.entry_points import COMMAND
from metricforge.errors import PluginError
from metricforge.registry import Entry, Registry, Status, load
from metricforge.spec import Spec, options_of

SECONDS = 60.0
"""CPU time that the import of one component may take, and how long it may do nothing."""

IDLE = 0.01
"""The fraction of a core below which a process does nothing: a thread may wake now and then."""


def tried(statuses: Mapping[Entry, Status], seconds: float = SECONDS) -> dict[Entry, Status]:
    """The statuses, those of entries that can't be imported changed to broken, with the reason."""
    found = dict(statuses)
    waiting = [entry for entry, status in statuses.items() if status.word != "broken"]
    while waiting:
        told, ended = _import(waiting, seconds)
        for entry, reason in zip(waiting, told, strict=False):
            if reason:
                found[entry] = Status("broken", reason)
        waiting = waiting[len(told) :]
        if waiting:
            # The one that the process did not come back from; the others are tried without it.
            found[waiting[0]] = Status("broken", ended)
            waiting = waiting[1:]
    return found


def _import(entries: list[Entry], seconds: float) -> tuple[list[str], str]:
    """What a process says of each entry, "" for a good one, and why it stopped if it did."""
    names = json.dumps([[entry.kind, entry.name, entry.distribution] for entry in entries])
    words = [sys.executable, "-m", "metricforge.plugin_tools.importing", names]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=quiet, text=True) as child:
        lines: Queue[str | None] = Queue()
        Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
        told: list[str] = []
        try:
            while (line := _next(lines, child.pid, seconds)) is not None:
                told.append(json.loads(line))
            ended = f"importing it ends the process (exit {child.wait()})"
        except TimeoutError as error:
            child.kill()
            ended = str(error)
    return told, ended


def _next(lines: Queue[str | None], pid: int, seconds: float) -> str | None:
    """The next line; TimeoutError, with the reason, when the patience with the process ends."""
    begun = worked = _cpu_seconds(pid)
    since = time.monotonic()
    while True:
        with suppress(Empty):
            return lines.get(timeout=min(1.0, seconds / 10))
        now = _cpu_seconds(pid)
        if now - begun > seconds:
            raise TimeoutError(f"importing it takes longer than {seconds:g} s of CPU time")
        if time.monotonic() - since > seconds:
            if now - worked < IDLE * seconds:
                raise TimeoutError(f"importing it hangs: it does nothing for {seconds:g} s")
            worked, since = now, time.monotonic()


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process; where there is no /proc, a tenth of the time by the clock."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return time.monotonic() / 10
    # Behind the name, which is in brackets: the 12th and 13th are of the user and of the system.
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _read(output: Iterable[str], lines: Queue[str | None]) -> None:
    """The lines, then None."""
    for line in output:
        lines.put(line)
    lines.put(None)


def main(names: str) -> None:
    """Load each of [kind, name, distribution] and print what was wrong with it, line by line."""
    # A stdout of our own: what plugins print, close or leave to a process of theirs is another.
    told = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    entries = {(e.kind, e.name, e.distribution): e for e in Registry.installed().entries()}
    for key in json.loads(names):
        try:
            entry = entries[tuple(key)]
            loaded = load(entry)
            if not entry.family and entry.kind != COMMAND:
                options_of(Registry.installed().factory(entry.kind, _named(entry)))
            elif entry.kind == COMMAND and not callable(loaded):
                raise PluginError(f"it is {type(loaded).__name__}, not a click.Command.")
            reason = ""
        except PluginError as error:
            cause = error.__cause__
            reason = f"{type(cause).__name__}: {cause}" if cause else str(error)
        print(json.dumps(reason), file=told, flush=True)


def _named(entry: Entry) -> Spec:
    return Spec(entry.name, distribution=entry.distribution)


if __name__ == "__main__":
    main(sys.argv[1])
