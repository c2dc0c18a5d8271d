"""The records of a running training: its metrics, its checkpoints, its messages."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from metricforge.errors import Interrupted, MetricForgeError, ResourceError
from metricforge.report.progress import Listener
from metricforge.runs.build import Assembly
from metricforge.runs.collapse_advice import collapse
from metricforge.runs.folder import RunFolder
from metricforge.runs.hooks import Hooks
from metricforge.runs.metrics_log import first_collapse, first_failure, line
from metricforge.runs.plots import draw_first_batch
from metricforge.training.records import EpochRecord, Record, StepRecord
from metricforge.training.setup import TrainState


class Recorder:
    """Records a training. Only the first of several ranks has one."""

    def __init__(
        self, assembly: Assembly, folder: RunFolder, listener: Listener, hooks: Hooks
    ) -> None:
        self._assembly, self._folder, self._listener = assembly, folder, listener
        self.hooks = hooks
        self._collapse_reported = first_collapse(folder) is not None
        self._failure_reported = first_failure(folder) is not None
        self._saved = time.monotonic()
        for note in (assembly.defaults, *assembly.notes, *hooks.notes):
            self.report(note)

    def report(self, sentence: str) -> None:
        """Print a message, and log it."""
        self._listener.say(sentence)
        self._folder.log(sentence)

    def log(self, sentence: str) -> None:
        """Log a message without printing it."""
        self._folder.log(sentence)

    def counting(self, what: str, total: int) -> Callable[[int], object]:
        """What is called with each further number of things that are done, of so many."""
        return self._listener.counting(what, total)

    def keep(self, record: Record, state: TrainState) -> None:
        """Write a record, and save a checkpoint if one is due."""
        folder, setup = self._folder, self._assembly.setup
        entry = line(record)
        folder.append(folder.metrics, entry)
        self._listener.record(record, setup.epochs)
        if record.step == 1 and isinstance(record, StepRecord):
            draw_first_batch(setup, state, self._assembly.runtime, folder)
        if isinstance(record, EpochRecord):
            self._judge(record)
            self.hooks.epoch(entry)
        else:
            self.hooks.step(entry, state.tally.sample.newest)
        if self._due(record):
            self.save(state)

    def save(self, state: TrainState) -> None:
        """Write a checkpoint, after the lines of the steps that it continues from."""
        self._folder.sync(self._folder.metrics)
        recipe = self._assembly.recipe
        self._folder.checkpoints.save(self._assembly.setup, state, recipe.keep)
        self._saved = time.monotonic()

    def stop(self, state: TrainState, exit_code: int) -> Interrupted:
        """Save, and log it; returns the error that ends the command."""
        if state.step:
            self.save(state)
        self._folder.log(f"interrupted and saved at step {state.total_steps}")
        stopped = Interrupted(
            f"interrupted and saved at step {state.total_steps}; resume with: "
            f"metricforge train --resume {shlex.quote(str(self._folder.path))}"
        )
        stopped.exit_code = exit_code
        return stopped

    def _judge(self, record: EpochRecord) -> None:
        if record.empty_batches:
            self._listener.say(f"epoch {record.epoch}: {record.empty_batches} empty batches.")
        if record.collapsed and not self._collapse_reported:
            self._collapse_reported = True
            self.report(collapse(record, self._assembly))
        if record.validation_loss_failed and not self._failure_reported:
            self._failure_reported = True
            self.report(f"no loss on validation images: {record.validation_loss_failed}")

    def _due(self, record: Record) -> bool:
        """Whether to save now: at the end of an epoch, and every so many steps or minutes."""
        recipe = self._assembly.recipe
        by_steps = recipe.save_steps is not None and record.step % recipe.save_steps == 0
        minutes = (time.monotonic() - self._saved) / 60
        return isinstance(record, EpochRecord) or by_steps or minutes >= recipe.save_minutes


@contextmanager
def ending(recorder: Recorder | None) -> Iterator[None]:
    """Call the hooks' `on_end`, however the training within ends.

    If the training failed or was stopped, an error of a hook is only reported.
    """
    if recorder is None:
        yield
        return
    try:
        yield
    except BaseException as error:
        if isinstance(error, MetricForgeError) and not isinstance(error, Interrupted):
            with suppress(ResourceError):  # it may be that nothing can be written
                recorder.log(f"ended by an error: {error}")
        try:
            recorder.hooks.end()
        except MetricForgeError as another:
            recorder.report(str(another))
        raise
    recorder.hooks.end()
