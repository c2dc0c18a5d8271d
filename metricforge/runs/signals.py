"""Ctrl-C, SIGTERM and a lost terminal: noted, so that the loop can stop between steps and save."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # of which Windows has two


class Interruption:
    """While entered, the first signal is noted in `signal`; the second one stops at once.

    Signals reach the main thread only: elsewhere this does nothing.
    """

    SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in self.SIGNALS if _heard(s)}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def _heard(number: int) -> bool:
    """Whether a signal is to be noted: a lost terminal is not where nohup has it ignored."""
    # A shell lets its background jobs ignore Ctrl-C, which somebody may still send on purpose.
    lost = number == getattr(signal, "SIGHUP", None)
    return not lost or signal.getsignal(number) is not signal.SIG_IGN


def exit_code(number: int) -> int:
    """The exit code that a shell expects of a process stopped by a signal."""
    return 128 + number
