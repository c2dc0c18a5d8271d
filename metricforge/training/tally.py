"""What is summed up over the steps of an epoch."""

from __future__ import annotations

import time
from collections.abc import Iterable

from metricforge.training.health import Sample
from metricforge.training.records import StepRecord, share


class Tally:
    """The sums of an epoch; begun with the records of those of its steps that were taken before."""

    def __init__(self, earlier: Iterable[StepRecord] = ()) -> None:
        self.began = time.perf_counter()
        self.sample = Sample()
        self.empty = 0
        self._loss = 0.0
        self._steps = self._active = self._judged = self._chosen = self._possible = 0
        for record in earlier:
            self.add(record)

    def add(self, record: StepRecord) -> None:
        """Count a step."""
        self._loss += record.loss
        self._steps += 1
        self.empty += record.tuples == 0
        if record.tuples is not None and record.active is not None:
            self._active += record.active
            self._judged += record.tuples
        if record.tuples is not None and record.possible is not None:
            self._chosen += record.tuples
            self._possible += record.possible

    @property
    def loss(self) -> float:
        """The mean over the steps."""
        return self._loss / max(self._steps, 1)

    @property
    def active_share(self) -> float | None:
        """Of the tuples of steps whose loss told, the active ones."""
        return share(self._active, self._judged)

    @property
    def chosen_share(self) -> float | None:
        """Of the possible tuples, those that the miner chose."""
        return share(self._chosen, self._possible)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.began
