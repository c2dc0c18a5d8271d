"""stdout and stderr, which may be full or closed.

A result that can't be printed is an error. A message that can't be printed is lost; the command
continues, and its exit code still reports its outcome.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any, TextIO

from metricforge.errors import ResourceError


class _Results(io.FileIO):
    """stdout; all output after the first failure is dropped, so that no later flush repeats it."""

    failed = False

    def write(self, content: Any, /) -> int:
        if self.failed:
            return len(memoryview(content))
        try:
            return super().write(content)
        except BrokenPipeError:  # e.g. `| head`, which stops reading
            self.failed = True
            raise
        except OSError as error:
            self.failed = True
            raise ResourceError(f"can't print the result to stdout: {error.strerror}.") from error


class _Messages(io.FileIO):
    """stderr."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(memoryview(content))


def watch() -> None:
    """Replace stdout and stderr by these; ResourceError if stdout is closed.

    A stream that the calling program has replaced, e.g. by `redirect_stdout`, stays.
    """
    closed = sys.stdout is None
    for number in range(3):
        _fill(number)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr, "backslashreplace")
    if closed:
        raise ResourceError("stdout, where the result goes, is closed; open it, as by >/dev/null.")
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Results(1, "w", closefd=False), sys.stdout, "strict")


def _fill(number: int) -> None:
    # Otherwise the next opened file, e.g. a model, would get the stream's number.
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _text(raw: io.FileIO, before: TextIO | None, errors: str) -> io.TextIOWrapper:
    """A text stream to `raw`, encoded as the stream `before`; line by line for `python -u`."""
    unbuffered = getattr(before, "write_through", False)
    encoding = before.encoding if before else "utf-8"
    usual = (before.errors if before else None) or errors
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        # A class named Café must not end a training whose stdout knows ASCII alone.
        errors=usual if codecs.lookup(encoding).name == "utf-8" else "backslashreplace",
        # Of `python -u` a line comes at once, as a whole: half of one is of no use to a reader.
        line_buffering=raw.isatty() or isinstance(raw, _Messages) or unbuffered,
    )
