"""One run at a time in a folder: a training holds a lock that ends with its process."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import lock_descriptor

from metricforge.decoding import parsed
from metricforge.errors import ArtefactError, InUseError, ResourceError
from metricforge.regular_file import read_text

NAME = ".lock"

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, created if missing; InUseError, naming the holder, if another process does.

    The system releases the lock when the process dies, however it dies.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A link here must not lead the lock to another file, which it would empty.
        file = os.fdopen(os.open(path, _FLAGS, 0o666), "a+")
    except OSError as error:
        raise ResourceError(f"can't write to {folder}: {error.strerror}.") from error
    with file:
        try:
            free = lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            raise ResourceError(f"can't lock {path}: {error.strerror}.") from error
        if not free:
            raise InUseError(_in_use(folder, path))
        file.truncate(0)
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        file.write(json.dumps({"process": os.getpid(), "on": socket.gethostname(), "since": since}))
        file.flush()
        yield


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keep other processes from changing a folder that is replaced as a whole; InUseError if one
    does.
    """
    path = folder.resolve()
    if not path.is_dir():
        raise ArtefactError(f"{folder} does not exist, or is no folder.")
    with held(path.with_name(f".{path.name}.changing")):
        yield


def _in_use(folder: Path, path: Path) -> str:
    try:
        holder = parsed(read_text(path))
        who = f"process {holder['process']} on {holder['on']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return f"{folder} is in use by {who}; give another --out, or wait for it."
