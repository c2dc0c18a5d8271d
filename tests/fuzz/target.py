"""A target of the fuzzer: what makes valid files, what reads any, and the errors it may raise."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from metricforge.errors import MetricForgeError

CORPUS = Path(__file__).parent / "corpus"

SECONDS = 20
"""The most time that a reader may take for an input; a thousandth of it is usual."""


@dataclass(frozen=True)
class Case:
    """Valid inputs of a target, and the function that reads any input, at its place in a folder."""

    seeds: Sequence[bytes]
    read: Callable[[bytes], object]


@dataclass(frozen=True)
class Form:
    """The structure of an input: its document, and a document as text."""

    parse: Callable[[str], Any]
    write: Callable[[Any], str] = json.dumps


JSON = Form(json.loads)


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Args:
        prepare: Makes the case in an empty folder.
        refusals: The errors that are documented for such a file.
        examples: Inputs of the exhaustive test, for about six seconds.
        form: The structure that mutations keep, for JSON and TOML.
        mend: Repairs the checksums in an input, so that a mutation gets past them.
    """

    prepare: Callable[[Path], Case]
    refusals: tuple[type[MetricForgeError], ...]
    examples: int
    form: Form | None = None
    mend: Callable[[bytes], bytes] | None = None


def attempt(target: Target, case: Case, content: bytes) -> bool:
    """Whether an input is read, and not refused by one of the target's errors.

    Whatever else it raises is a finding; AssertionError if it takes more than SECONDS.
    """
    try:
        with _at_most(SECONDS):
            case.read(content)
    except target.refusals:
        return False
    return True


class _TooLong(BaseException):
    """No Exception, which readers of damaged files catch."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise AssertionError when that time is over; without effect outside of the main thread."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _TooLong as error:
        raise AssertionError(f"it takes more than {seconds} s") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
