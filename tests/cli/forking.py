"""Runs commands in processes forked from one that has loaded the libraries, which takes seconds.

    python -P tests/cli/forking.py

A line on stdin, in JSON, begins a command or asks for its end. {"begin": COMMAND} is answered with
the number of its process; COMMAND has `module` and `words`, `env`, `cwd`, the folders `path` that
come first among those of modules, and the files `out` and `err` for stdout and stderr.
{"ended": NUMBER} is answered with the exit code, negative for a signal, or null while it runs.
Nothing of what a command does is known to the next.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import site
import sys
import sysconfig
import threading
import traceback
from typing import Any, NoReturn

# What the commands load when they are called; none of it may start a thread.
LIBRARIES = (
    "torch", "torchvision", "faiss", "sklearn.datasets", "matplotlib.figure", "PIL.Image",
    "pytorch_metric_learning.losses", "metricforge.runs.train", "metricforge.judging.evaluate",
)  # fmt: skip


def become(command: dict[str, Any]) -> None:
    """Be the command, in this process."""
    os.environ.clear()
    os.environ.update(command["env"])
    os.chdir(command["cwd"])
    out, err = command["out"], command["err"]
    files = ((os.devnull, os.O_RDONLY), (out, os.O_WRONLY), (err, os.O_WRONLY))
    for number, (path, way) in enumerate(files):
        os.dup2(os.open(path, way), number)
    # Where the tests run in the background, it is ignored, and a child would ignore it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # by nohup it is ignored as well
    sys.argv = ["metricforge", *command["words"]]
    sys.path[:0] = command["path"]
    # What was installed since the libraries were loaded.
    site.addsitedir(sysconfig.get_path("purelib"))
    importlib.invalidate_caches()
    importlib.import_module(command["module"]).main()


def run(command: dict[str, Any]) -> NoReturn:
    """Be the command to its end, and end at once.

    To take the libraries apart first costs as much as to load them, and no user sees it.
    """
    code: Any = 0
    try:
        become(command)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ended(child: int) -> int | None:
    """The exit code of a process, None while it runs."""
    number, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if number else None


def main() -> None:
    """Answer each line; a child leaves by the end of its command."""
    for library in LIBRARIES:
        # Without its extra a command says what is missing, and that is a test's business.
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    gc.freeze()
    while line := sys.stdin.readline():
        asked = json.loads(line)
        if "ended" in asked:
            answer = ended(asked["ended"])
        elif not (answer := os.fork()):
            run(asked["begin"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
