"""The progress of a training: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from metricforge.report.page import printable
from metricforge.training.records import EpochRecord, Record, StepRecord

# Plain lines no oftener than this, so that a log of a long run stays readable.
SECONDS_BETWEEN_LINES = 10.0
# Weight of the newest step in the smoothed loss, shares and speed.
SMOOTHING = 0.1
LEAST_BAR, MOST_BAR = 8, 16


class Listener:
    """Receives every step and epoch; this one is silent."""

    def say(self, sentence: str) -> None:
        """Receive a message for the user."""

    def counting(self, what: str, total: int) -> Callable[[int], object]:
        """What is called with each further number of things that are done, of so many."""
        return lambda images: None

    def record(self, record: Record, epochs: int) -> None:
        """Receive the record of a step or an epoch, of so many epochs."""


class _Line:
    """A live line on stderr if that is a terminal; a context manager."""

    def __init__(self, *columns: ProgressColumn) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._live = self._console.is_terminal
        self._bar = Progress(
            *columns, console=self._console, disable=not self._live, transient=True
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


class ProgressLine(_Line, Listener):
    """Shows loss, score, shares of tuples, speed and time left, on stderr; a context manager.

    A terminal that is too narrow for all of them shows the most important ones.
    """

    def __init__(self) -> None:
        self._meter = BarColumn(bar_width=MOST_BAR)
        self._texts = TextColumn("{task.description}"), TextColumn("{task.fields[summary]}")
        super().__init__(*self._texts)
        self._task = self._bar.add_task("preparing", total=1.0, summary="")
        self._began: tuple[float, float] | None = None
        self._last_line = time.monotonic()
        self._loss = self._images = self._seconds = float("nan")
        self._active = self._chosen = float("nan")
        self._left = 0.0
        self._score = self._spread = self._rank = ""

    def say(self, sentence: str) -> None:
        message = escape(printable(sentence))
        self._console.print(
            f"[dim]note:[/dim] {message}" if self._live else message, soft_wrap=True
        )

    def counting(self, what: str, total: int) -> Callable[[int], object]:
        done = 0

        def count(images: int) -> None:
            nonlocal done
            done += images
            told = f"{what} {done:,}/{total:,}"
            if self._live:
                self._draw(told, done / max(total, 1), counted=True)
            elif self._due():
                self._console.print(told, soft_wrap=True)

        return count

    def record(self, record: Record, epochs: int) -> None:
        if isinstance(record, EpochRecord):
            name, value = next(iter(record.validation.items()), ("", 0.0))
            # During training all scores are on validation classes: the line need not say so.
            self._score = f"{name} {value:.3f}" if name else ""
            self._spread = "" if record.spread is None else f"spread {record.spread:.2f}"
            rank = record.effective_rank
            self._rank = "" if rank is None else f"rank {rank:.1f}"
            self._plain(record.epoch, epochs, always=record.epoch == epochs)
            return
        now = time.monotonic()
        if self._began is None:
            self._began, self._last_line = (now, record.spent), now
        self._follow(record)
        self._left = self._seconds_left(now, record.spent)
        if self._live:
            self._draw(f"epoch {record.epoch}/{epochs}", record.spent)
        self._plain(record.epoch, epochs)

    def _follow(self, record: StepRecord) -> None:
        self._loss = _smooth(self._loss, record.loss)
        # Apart, so that a short last batch does not count like a full one.
        self._images = _smooth(self._images, record.images)
        self._seconds = _smooth(self._seconds, record.seconds)
        self._active = _smooth(self._active, record.active_share)
        self._chosen = _smooth(self._chosen, record.chosen_share)

    def _draw(self, description: str, spent: float, counted: bool = False) -> None:
        """Draw the line: as much of the summary as fits, and a bar in the remaining width.

        What is counted has no loss, no speed of training, and no end of it.
        """
        width = self._console.width - len(description) - 1
        summary = "" if counted else self._summary(width)
        room = min(width - len(summary) - 1, MOST_BAR)
        self._meter.bar_width = room
        bar = (self._meter,) if room >= LEAST_BAR else ()
        self._bar.columns = (self._texts[0], *bar, self._texts[1])
        self._bar.update(self._task, completed=spent, description=description, summary=summary)

    def _summary(self, width: int | None = None) -> str:
        """Loss, score, shares, spread, speed, time; the least important dropped to fit `width`."""
        speed = f"{self._images / max(self._seconds, 1e-9):,.0f} images/s"
        ranked = [
            (1, f"loss {self._loss:.4f}"),
            (3, self._score),
            (5, _percent("active", self._active)),
            (8, _percent("chosen", self._chosen)),
            (6, self._spread),
            (7, self._rank),
            (4, speed),
            (2, f"{clock(self._left)} left"),
        ]
        ranked = [(rank, text) for rank, text in ranked if text]
        while True:
            summary = " · ".join(text for _, text in ranked)
            if width is None or len(summary) <= width or len(ranked) == 1:
                return summary
            ranked.remove(max(ranked))

    def _plain(self, epoch: int, epochs: int, always: bool = False) -> None:
        if not self._live and self._due(always):
            self._console.print(f"epoch {epoch}/{epochs} · {self._summary()}", soft_wrap=True)

    def _due(self, always: bool = False) -> bool:
        """Whether a plain line is to be printed now, after the last one."""
        now = time.monotonic()
        due = always or now - self._last_line > SECONDS_BETWEEN_LINES
        if due:
            self._last_line = now
        return due

    def _seconds_left(self, now: float, spent: float) -> float:
        began, at = self._began or (now, spent)
        return (now - began) / max(spent - at, 1e-9) * (1 - spent) if spent > at else 0.0


class RunsLine(_Line):
    """The number of finished runs and the elapsed time, below the messages, on stderr."""

    def __init__(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(bar_width=MOST_BAR)
        super().__init__(*columns, TimeElapsedColumn())
        self._task = self._bar.add_task("training", total=None)

    def say(self, sentence: str) -> None:
        """Print a line that stays."""
        self._console.print(escape(printable(sentence)), soft_wrap=True)

    def done(self, number: int, count: int) -> None:
        """Show the number of finished runs, of all."""
        description = f"{number}/{count} runs"
        self._bar.update(self._task, description=description, completed=number, total=count)


class CountLine(_Line):
    """How many of so many things are done, how fast, and the time left, on stderr.

    Its context's value is called with each further number of things that are done.
    """

    def __init__(self, what: str, total: int) -> None:
        columns = TextColumn("{task.description}"), BarColumn(bar_width=MOST_BAR)
        super().__init__(*columns, TextColumn("{task.fields[told]}"))
        self._what, self._total, self._done = what, total, 0
        self._task = self._bar.add_task(f"0/{total:,} {what}", total=total, told="")
        self._began = self._last_line = time.monotonic()

    def __call__(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        speed = self._done / max(now - self._began, 1e-9)
        left = clock((self._total - self._done) / max(speed, 1e-9))
        description = f"{self._done:,}/{self._total:,} {self._what}"
        told = f"{speed:,.0f} a second · {left} left"
        if self._live:
            self._bar.update(self._task, completed=self._done, description=description, told=told)
        elif now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._console.print(f"{description} · {told}", soft_wrap=True)


def count_line(
    what: str, total: int, shown: bool
) -> AbstractContextManager[Callable[[int], object] | None]:
    """A CountLine as a context, or one without a value if it is not to be shown."""
    return CountLine(what, total) if shown else nullcontext()


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{remainder:02d}" if hours else f"{minutes}:{remainder:02d}"


def _percent(name: str, share: float) -> str:
    """A share by name, "" if it is unknown (NaN)."""
    if share != share:
        return ""
    # Small shares keep one digit; .1g would write 9.6 as 1e+01.
    return f"{name} {100 * share:{'.0f' if share >= 0.01 else '.1g'}}%"


def _smooth(before: float, value: float | None) -> float:
    if value is None:
        return before
    return value if before != before else before + SMOOTHING * (value - before)
