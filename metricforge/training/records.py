"""What a training reports of each step and each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metricforge.training.health import Sample


@dataclass(frozen=True)
class StepRecord:
    """One step: its loss, its tuples, its images and seconds.

    - `tuples`: how many the miner chose; None when the loss sees the whole batch.
    - `possible`: how many of that kind the batch holds, an image that it holds twice being two;
      of a memory's rows none is an anchor.
    - `active`: how many of the tuples have a share in the loss; None when the loss does not say.
    - `gradient_norm`: the length of the gradient before it was clipped; None when it is not, or
      when it is not finite, as of a step in fp16 that is skipped.
    - `spent`: the share of the whole budget, 0 to 1, that is behind it.
    """

    epoch: int
    step: int
    steps_in_epoch: int
    loss: float
    tuples: int | None
    images: int
    seconds: float
    lr: float
    spent: float
    possible: int | None = None
    active: int | None = None
    gradient_norm: float | None = None

    @property
    def active_share(self) -> float | None:
        """Of the tuples that the miner chose, the share that is active."""
        return share(self.active, self.tuples)

    @property
    def chosen_share(self) -> float | None:
        """Of the possible tuples, the share that the miner chose."""
        return share(self.tuples, self.possible)


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: its mean loss, the scores on validation classes, whether they are the best.

    `validation_loss` and `validation_accuracy` are those of `held_out`, None where there are none;
    `validation_loss_failed` says why, where one was tried.
    The shares are those of all its tuples together. `spread` and `effective_rank` are those of
    its last embeddings (see `health`), None where there are too few of them.
    """

    epoch: int
    step: int
    loss: float
    empty_batches: int
    validation: Mapping[str, float]
    best: bool
    seconds: float
    active_share: float | None = None
    chosen_share: float | None = None
    spread: float | None = None
    effective_rank: float | None = None
    collapsed: bool = False
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_loss_failed: str | None = None


Record = StepRecord | EpochRecord


@dataclass
class EpochSums:
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


def share(part: int | None, whole: int | None) -> float | None:
    """What part of a whole there is, 0 to 1; None where that is unknown, or there is no whole."""
    return part / whole if part is not None and whole else None
