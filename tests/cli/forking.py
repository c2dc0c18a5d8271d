"""Runs commands in processes forked from one that has loaded the libraries, which takes seconds.

    python -P tests/cli/forking.py

A line on stdin, in JSON, names a command: `module` and `words`, `env`, `cwd`, and the files `out`
and `err` for its stdout and stderr. Its exit code, negative for a signal, is the line on stdout.
Nothing of what a command does is known to the next.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from typing import Any

# What the commands load when they are called; none of it may start a thread.
LIBRARIES = (
    "torch", "torchvision", "faiss", "sklearn.datasets", "matplotlib.figure", "PIL.Image",
    "pytorch_metric_learning.losses", "metricforge.runs.train", "metricforge.runs.evaluate",
)  # fmt: skip


def become(asked: dict[str, Any]) -> None:
    """Be the command, in this process."""
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    files = ((os.devnull, os.O_RDONLY), (asked["out"], os.O_WRONLY), (asked["err"], os.O_WRONLY))
    for number, (path, way) in enumerate(files):
        os.dup2(os.open(path, way), number)
    sys.argv = ["metricforge", *asked["words"]]
    sys.path[:0] = asked["path"]
    importlib.import_module(asked["module"]).main()


def main() -> None:
    """Fork for each line; a child leaves by the end of its command."""
    for library in LIBRARIES:
        # Without its extra a command says what is missing, and that is a test's business.
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    while line := sys.stdin.readline():
        child = os.fork()
        if not child:
            become(json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
