"""Imports components in other processes, to see which are broken.

A plugin that raises, or that ends its process, is broken. There is no time limit: it could not tell
a slow plugin on a busy machine from one that hangs. Ctrl-C ends the wait.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread

from metricforge.contracts import KINDS
from metricforge.entry_points import COMMAND
from metricforge.errors import PluginError
from metricforge.registry import Entry, Registry, Status, load
from metricforge.spec import Spec, options_of

LOOK_AGAIN = 1.0
"""Seconds between two checks whether a silent process has ended."""


def imported(
    statuses: Mapping[Entry, Status], begin: Callable[[Entry], None] = lambda entry: None
) -> dict[Entry, Status]:
    """The statuses after each entry was imported: ok, or broken with the reason.

    `begin` is called with each entry before it is imported.
    """
    results = dict(statuses)
    waiting = [entry for entry, status in statuses.items() if status.word != "broken"]
    while waiting:
        reasons, ended = _import(waiting, begin)
        for entry, reason in zip(waiting, reasons, strict=False):
            shadowed = statuses[entry].word == "shadowed"
            good = statuses[entry] if shadowed else Status("ok")
            results[entry] = Status("broken", reason) if reason else good
        if len(reasons) < len(waiting):
            # This one ended the process; the others are imported without it.
            results[waiting[len(reasons)]] = Status("broken", ended)
        waiting = waiting[len(reasons) + 1 :]
    return results


def _import(entries: list[Entry], begin: Callable[[Entry], None]) -> tuple[list[str], str]:
    """The error of each entry in another process, "" for a good one, and how that one ended."""
    names = json.dumps([[entry.kind, entry.name, entry.distribution] for entry in entries])
    words = [sys.executable, "-m", "metricforge.plugin_tools.importing", names]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=quiet, text=True) as child:
        assert child.stdout is not None
        lines: Queue[str] = Queue()
        # A child process of a plugin may hold the pipe open for good.
        Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
        reasons: list[str] = []
        try:
            for entry in entries:
                begin(entry)
                reasons.append(json.loads(_next(lines, child)))
        except Empty:
            return reasons, f"importing it ends the process (exit {child.returncode})"
        finally:
            child.kill()
    return reasons, ""


def _next(lines: Queue[str], child: subprocess.Popen[str]) -> str:
    """The next line; Empty when the process has ended without another."""
    while child.poll() is None:
        with suppress(Empty):
            return lines.get(timeout=LOOK_AGAIN)
    # Its last lines may still be on their way from the pipe.
    return lines.get(timeout=LOOK_AGAIN)


def _read(output: Iterable[str], lines: Queue[str]) -> None:
    for line in output:
        lines.put(line)


def main(names: str) -> None:
    """Load each of [kind, name, distribution] and print its error, a line each."""
    # A private copy of stdout, which plugins can neither print to nor close.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    registry = Registry.installed()
    entries = {(e.kind, e.name, e.distribution): e for e in registry.entries()}
    for key in json.loads(names):
        reason = ""
        try:
            _try(registry, entries[tuple(key)])
        except PluginError as error:
            cause = error.__cause__
            reason = f"{type(cause).__name__}: {cause}" if cause else str(error)
        print(json.dumps(reason), file=output, flush=True)


def _try(registry: Registry, entry: Entry) -> None:
    """Import an entry, and read the options of a component; PluginError if it can't be used."""
    loaded = load(entry)
    if entry.kind not in KINDS and not callable(loaded):
        meant = "click.Command" if entry.kind == COMMAND else "function that makes a search"
        raise PluginError(f"it is {type(loaded).__name__}, not a {meant}.")
    if entry.kind in KINDS and not entry.family:
        spec = Spec(entry.name, distribution=entry.distribution)
        options_of(registry.factory(entry.kind, spec))


if __name__ == "__main__":
    main(sys.argv[1])
