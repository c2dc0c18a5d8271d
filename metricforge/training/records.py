"""The records of a training, of each step and each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metricforge.decoding import Count
from metricforge.training.health import Sample


@dataclass(frozen=True)
class StepRecord:
    """One step: its loss, its tuples, its images and seconds.

    - `tuples`: how many the miner chose; None if the loss compares the whole batch.
    - `possible`: how many of that kind the batch holds, an image that it holds twice being two; no
      row of a memory is an anchor.
    - `active`: how many of the tuples contribute to the loss; None if the loss does not count.
    - `gradient_norm`: the length of the gradient before it was clipped; None if it is not, or if it
      is not finite, e.g. in a step in fp16 that is skipped.
    - `spent`: the fraction of the whole budget, 0 to 1, that is spent after it.
    """

    epoch: Count
    step: Count
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
        """The fraction of the chosen tuples that is active."""
        return share(self.active, self.tuples)

    @property
    def chosen_share(self) -> float | None:
        """The fraction of the possible tuples that the miner chose."""
        return share(self.tuples, self.possible)


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: its mean loss, the scores on validation classes, whether they are the best.

    `validation_loss` and `validation_accuracy` are those of `held_out`, None if there are none;
    `validation_loss_failed` is the reason, if computing them failed. The fractions are over all its
    tuples. `spread` and `effective_rank` are those of its last embeddings (see `health`), None if
    there are too few of them.
    """

    epoch: Count
    step: Count
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

    def __post_init__(self) -> None:
        if self.collapsed and self.spread is None:
            raise ValueError("collapsed embeddings have a spread")


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
        """The fraction of active tuples, of steps whose loss counts them."""
        return share(self.active, self.judged)

    @property
    def chosen_share(self) -> float | None:
        """The fraction of the possible tuples that the miner chose."""
        return share(self.chosen, self.possible)


def share(part: int | None, whole: int | None) -> float | None:
    """A part as a fraction of a whole, 0 to 1; None if one is unknown, or the whole is 0."""
    return part / whole if part is not None and whole else None
