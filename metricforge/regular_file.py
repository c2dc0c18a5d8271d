"""Files that a stranger may have written: opened only where regular, read only up to a bound.

A pipe would wait for a writer, and a device has no end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

DOCUMENT = 2**29
"""The most bytes of a text that is read whole: JSON, TOML, a list of labels."""

TENSORS = 2**35
"""The most bytes of a file of weights, of an optimizer's state or of an index."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read bytes; OSError for a pipe, a socket, a device or a folder."""
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    try:
        _check(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    # To open a pipe would wait for its writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_regular(path: str | os.PathLike[str]) -> None:
    """OSError unless `path` is a regular file, for readers that must open it themselves."""
    _check(os.stat(path), path)  # noqa: PTH116 - a Path takes longer, and images are many


def read_bytes(path: Path, limit: int = DOCUMENT) -> bytes:
    """The content of a regular file; OSError for any other, or one of more than `limit` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
        content = file.read(size)
        if not size and file.read(1):
            raise OSError(errno.EINVAL, "it is a file of the system, without a size", str(path))
    return content


def read_text(path: Path, errors: str = "strict") -> str:
    """The content of a regular file as UTF-8 text, with or without a mark; line ends are \\n."""
    text = read_bytes(path).decode("utf-8-sig", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(
            errno.EINVAL, "it is no regular file, but a pipe, a socket or a device", str(path)
        )
