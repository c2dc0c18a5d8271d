"""What a training tells while it runs: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from metricforge.report.page import printable
from metricforge.training.loop import EpochRecord, StepRecord

Record = StepRecord | EpochRecord

# Plain lines no oftener than this, so that a log of a long run stays readable.
SECONDS_BETWEEN_LINES = 10.0
# Weight of the newest step in the smoothed loss and speed.
SMOOTHING = 0.1


class Listener:
    """Hears of every step and epoch; this one is silent."""

    def say(self, sentence: str) -> None:
        """A sentence for the user."""

    def record(self, record: Record, epochs: int) -> None:
        """A step or an epoch was done, of so many epochs."""


class ProgressLine(Listener):
    """Shows loss, images a second and the time left, on stderr; a context manager."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._live = self._console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[told]}"),
            console=self._console,
            disable=not self._live,
            transient=True,
        )
        self._task = self._bar.add_task("preparing", total=1.0, told="")
        self._began: tuple[float, float] | None = None
        self._last_line = 0.0
        self._loss = self._images = self._seconds = float("nan")
        self._left = 0.0
        self._score = ""

    def __enter__(self) -> ProgressLine:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def say(self, sentence: str) -> None:
        told = escape(printable(sentence))
        self._console.print(f"[dim]note:[/dim] {told}" if self._live else told, soft_wrap=True)

    def record(self, record: Record, epochs: int) -> None:
        if isinstance(record, EpochRecord):
            name, value = next(iter(record.validation.items()), ("", 0.0))
            self._score = f"val {name} {value:.3f}" if name else ""
            self._plain(record.epoch, epochs, always=record.epoch == epochs)
            return
        now = time.monotonic()
        if self._began is None:
            self._began, self._last_line = (now, record.spent), now
        self._loss = _smooth(self._loss, record.loss)
        # Apart, so that a short last batch does not count like a full one.
        self._images = _smooth(self._images, record.images)
        self._seconds = _smooth(self._seconds, record.seconds)
        self._left = self._seconds_left(now, record.spent)
        self._bar.update(
            self._task,
            completed=record.spent,
            description=f"epoch {record.epoch}/{epochs}",
            told=self._told(),
        )
        self._plain(record.epoch, epochs)

    def _told(self) -> str:
        speed = f"{self._images / max(self._seconds, 1e-9):,.0f} images/s"
        left = f"{clock(self._left)} left"
        return " · ".join(filter(None, (f"loss {self._loss:.4f}", self._score, speed, left)))

    def _plain(self, epoch: int, epochs: int, always: bool = False) -> None:
        now = time.monotonic()
        if self._live or not (always or now - self._last_line > SECONDS_BETWEEN_LINES):
            return
        self._last_line = now
        self._console.print(f"epoch {epoch}/{epochs} · {self._told()}", soft_wrap=True)

    def _seconds_left(self, now: float, spent: float) -> float:
        began, at = self._began or (now, spent)
        return (now - began) / max(spent - at, 1e-9) * (1 - spent) if spent > at else 0.0


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _smooth(before: float, value: float) -> float:
    return value if before != before else before + SMOOTHING * (value - before)
