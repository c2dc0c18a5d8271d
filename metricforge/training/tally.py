"""What is summed up over the steps of an epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

from metricforge.training.health import Sample
from metricforge.training.records import StepRecord, share


@dataclass
class Tally:
    """The sums of the steps of an epoch, and its newest embeddings."""

    loss_sum: float = 0.0
    steps: int = 0
    empty: int = 0
    active: int = 0
    judged: int = 0
    chosen: int = 0
    possible: int = 0
    seconds: float = 0.0
    sample: Sample = field(default_factory=Sample)

    def add(self, record: StepRecord) -> None:
        """Count a step."""
        self.loss_sum += record.loss
        self.seconds += record.seconds
        self.steps += 1
        self.empty += record.tuples == 0
        if record.tuples is not None and record.active is not None:
            self.active += record.active
            self.judged += record.tuples
        if record.tuples is not None and record.possible is not None:
            self.chosen += record.tuples
            self.possible += record.possible

    @property
    def loss(self) -> float:
        """The mean over the steps."""
        return self.loss_sum / max(self.steps, 1)

    @property
    def active_share(self) -> float | None:
        """Of the tuples of steps whose loss told, the active ones."""
        return share(self.active, self.judged)

    @property
    def chosen_share(self) -> float | None:
        """Of the possible tuples, those that the miner chose."""
        return share(self.chosen, self.possible)
