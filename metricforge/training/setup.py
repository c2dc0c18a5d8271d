"""The parts of a training, and its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from metricforge.contracts import Loss, Miner, Reducing, Sampler, Schedule
from metricforge.data.images import Images
from metricforge.decoding import Count
from metricforge.enforcement import factor_of, patience_of, reduced_by
from metricforge.model import EmbeddingModel
from metricforge.training.augmentation import Chain
from metricforge.training.frozen_features import FrozenFeatures
from metricforge.training.records import EpochSums

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Validated:
    """Results of a model on validation images: scores, the one to select by first, and its rows.

    `embeddings` [M, D] and `labels` int64 [M] are on the CPU; empty if the loss is not needed. The
    labels are `known` if all are of training classes, and then are those of the training; else they
    are 0 .. V-1.
    """

    scores: Scores
    embeddings: Tensor = field(default_factory=lambda: torch.zeros(0, 1), repr=False)
    labels: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64), repr=False)
    known: bool = False


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training needs, finished.

    `train` [N] are the indices in `images` of those to train on, and `labels` [N] their classes 0
    .. C-1; image i of the dataset has the indices i * views .. i * views + views - 1. `validate`
    measures the model on validation classes; its first score is the one to select by. `miner_at`
    returns the miner of an epoch and step, both from 0, if it changes from step to step; without it
    `miner` is that of all. `replaced`: `miner` is not the sampler's own, and does not handle images
    that a batch repeats. `augment` changes the images of a batch before the network.

    Each step takes `accumulate` batches of the sampler, compared separately, their gradients
    averaged. `clip` is the largest norm of a gradient that is not scaled. `average` follows the
    weights, and is validated and saved in their place. The backbone is `frozen` for so many epochs;
    with `frozen_norms` batch norm keeps its statistics throughout. After `patience` epochs without
    a better score the training ends. `scaler` keeps gradients in fp16 from vanishing.

    The highest score is the best, or the lowest with `lower_is_better`.

    Besides `epochs`, a budget of images or seconds ends the training with the step that reaches it.
    """

    model: EmbeddingModel
    loss: Loss
    sampler: Sampler
    miner: Miner
    images: Images
    train: Tensor
    labels: Tensor
    optimizer: Optimizer
    schedule: Schedule
    validate: Callable[[EmbeddingModel], Validated]
    epochs: int
    seed: int
    images_budget: int | None = None
    seconds_budget: float | None = None
    views: int = 1
    miner_at: Callable[[int, int], Miner] | None = None
    replaced: bool = False
    augment: Chain | None = None
    accumulate: int = 1
    clip: float | None = None
    average: AveragedModel | None = None
    frozen: int = 0
    frozen_norms: bool = False
    patience: int | None = None
    lower_is_better: bool = False
    scaler: GradScaler = field(default_factory=partial(GradScaler, enabled=False))

    @property
    def judged(self) -> EmbeddingModel:
        """The model that is validated: the averaged one, if there is one."""
        return self.model if self.average is None else cast(EmbeddingModel, self.average.module)

    def shown(self, epoch: int) -> Images:
        """The images that an epoch trains on."""
        images = self.images
        return images.in_epoch(epoch) if isinstance(images, FrozenFeatures) else images

    def spent(self, state: TrainState, steps: int, more: int = 0) -> float:
        """The fraction of the budget that is spent, 0 to 1, in an epoch of so many `steps`.

        With `more` images, of the next step: in its middle.
        """
        step = state.step + (0.5 if more else 0.0)
        shares = [(state.epoch + step / steps) / self.epochs]
        if self.images_budget is not None:
            shares.append((state.images + more / 2) / self.images_budget)
        if self.seconds_budget is not None:
            shares.append(state.seconds / self.seconds_budget)
        return min(1.0, max(shares))

    def rate(self, state: TrainState, spent: float) -> float:
        """The factor on the learning rate, times the factor of a plateau."""
        return factor_of(self.schedule, spent) * state.rate

    def wait(self, state: TrainState, score: float) -> None:
        """Note a better score of the epoch that `state` has just closed; or reduce the rate.

        Called before the best score of the state is updated with that epoch.
        """
        if score > state.best_score:
            state.better_epoch = state.epoch
        if not isinstance(self.schedule, Reducing):
            return
        if score > state.best_score:
            state.waits_from = state.epoch
        elif state.epoch - state.waits_from >= patience_of(self.schedule):
            state.rate = reduced_by(self.schedule, state.rate)
            state.waits_from = state.epoch

    def exhausted(self, state: TrainState) -> bool:
        """Whether the images or the seconds are spent."""
        return (self.images_budget is not None and state.images >= self.images_budget) or (
            self.seconds_budget is not None and state.seconds >= self.seconds_budget
        )

    def tired(self, state: TrainState) -> bool:
        """Whether the score has not improved for `patience` epochs."""
        # A checkpoint from before there was a `better_epoch` has none.
        since = state.better_epoch or state.best_epoch
        return self.patience is not None and state.epoch - since >= self.patience

    def done(self, state: TrainState) -> bool:
        """Whether the training is over: by its budget, or because the score stopped improving."""
        over = state.epoch >= self.epochs or self.exhausted(state)
        return state.step == 0 and (over or self.tired(state))


@dataclass
class TrainState:
    """The progress of a training: finished epochs, then finished steps of the open one.

    `images` were shown to the network, an image shown twice being two, and `seconds` were spent so
    far. `batches` are those of the open epoch, each int64 [B] into the train set, and `tally` has
    the sums of its steps. Of epochs with equal scores `best_epoch` is the last, and `better_epoch`
    the first. `rate` is the factor of a schedule that reduces the learning rate, and `waits_from`
    the epoch of the last better score, or in which it was last reduced.
    """

    epoch: Count = 0
    step: Count = 0
    total_steps: Count = 0
    images: Count = 0
    best_score: float = float("-inf")
    best_epoch: Count = 0
    better_epoch: Count = 0
    rate: float = 1.0
    waits_from: Count = 0
    seconds: float = field(default=0.0, compare=False)
    batches: list[Tensor] = field(default_factory=list, repr=False, compare=False)
    tally: EpochSums = field(default_factory=EpochSums, repr=False, compare=False)
