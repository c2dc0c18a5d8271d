"""The training loop: batches from the sampler, tuples from the miner, a step, a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from metricforge.contracts import AllPairs, AllTriplets, Loss, Miner, Sampler, Tuples
from metricforge.data.batches import read_ahead
from metricforge.data.images import Images
from metricforge.errors import DivergedError
from metricforge.model import EmbeddingModel
from metricforge.runtime import Runtime, generator, seed_torch
from metricforge.training.conduct import (
    blaming,
    check_labels,
    check_loss,
    check_memory,
    check_tuples,
    taken_batches,
)
from metricforge.training.mining import anchored, mine
from metricforge.training.optimizer import Schedule

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Task:
    """Everything that a training needs, finished.

    `train` [N] are the indices in `images` of those to train on, and `labels` [N] their
    classes 0 .. C-1; image i of the dataset has the indices i * views .. i * views + views - 1.
    `validate` measures the model on validation classes;
    its first score is the one to select by.
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
    validate: Callable[[EmbeddingModel], Scores]
    epochs: int
    seed: int
    views: int = 1


@dataclass
class Position:
    """How far a training is: whole epochs done, then steps done in the one that is open.

    `batches` are those of the open epoch, each int64 [B] into the train set.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    best_score: float = float("-inf")
    best_epoch: int = 0
    batches: list[Tensor] = field(default_factory=list, repr=False, compare=False)


@dataclass(frozen=True)
class StepRecord:
    """One step: its loss, how many tuples it saw, its images and seconds.

    `spent` is the share of the whole budget, 0 to 1, that is behind it.
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


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: its mean loss, the scores on validation classes, whether they are the best."""

    epoch: int
    step: int
    loss: float
    empty_batches: int
    validation: Scores
    best: bool
    seconds: float


@dataclass
class _Epoch:
    """What is summed up over the steps of an epoch."""

    began: float = field(default_factory=time.perf_counter)
    loss: float = 0.0
    steps: int = 0
    empty: int = 0

    def add(self, record: StepRecord) -> None:
        self.loss += record.loss
        self.steps += 1
        self.empty += record.tuples == 0


def fit(task: Task, position: Position, runtime: Runtime) -> Iterator[StepRecord | EpochRecord]:
    """Train from `position` to the end, yielding a record after each step and each epoch.

    `position` is kept up to date, so the caller may save or stop at any record. All randomness
    is a function of (seed, epoch, step): a training that stops and goes on draws the same.
    Raises DivergedError before the step when the loss or an embedding is not finite.
    """
    while position.epoch < task.epochs:
        summary = _Epoch()
        for record in _epoch(task, position, runtime):
            summary.add(record)
            yield record
        yield _close_epoch(task, position, summary)


def _epoch(task: Task, position: Position, runtime: Runtime) -> Iterator[StepRecord]:
    batches = _batches(task, position, runtime)
    remaining = batches[position.step :]
    task.model.train()
    images = read_ahead(task.images, (task.train[batch] for batch in remaining))
    began = time.perf_counter()
    for batch, shown in zip(remaining, images, strict=True):
        # The middle of the step: the first one is not taken at rate zero, nor the last.
        spent = (position.epoch + (position.step + 0.5) / len(batches)) / task.epochs
        for group in task.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * task.schedule(spent)
        seed_torch(task.seed, position.epoch, position.step)
        rng = generator(task.seed, position.epoch, position.step)
        first = position.step == 0
        loss, tuples = _step(task, runtime.prepare(shown), batch, rng, runtime, first)
        position.step += 1
        position.total_steps += 1
        yield StepRecord(
            epoch=position.epoch + 1,
            step=position.total_steps,
            steps_in_epoch=len(batches),
            loss=loss,
            tuples=count(tuples),
            images=len(batch),
            seconds=time.perf_counter() - began,
            lr=task.optimizer.param_groups[0]["lr"],
            spent=(position.epoch + position.step / len(batches)) / task.epochs,
        )
        began = time.perf_counter()


def _batches(task: Task, position: Position, runtime: Runtime) -> list[Tensor]:
    """The batches of the epoch that is open; drawn once, when it begins.

    Listing them costs 8 bytes an image, tells how many steps there are to go, and lets a
    checkpoint in the middle of an epoch carry what a refreshed sampler could not draw again.
    """
    if position.step and position.batches:
        return position.batches
    refresh = getattr(task.sampler, "refresh", None)
    if refresh is not None and position.epoch > 0:
        embeddings = embed_images(task.model, task.images, task.train, runtime)
        with blaming(task.sampler):
            refresh(embeddings)
    rng = generator(task.seed, position.epoch)
    position.batches = taken_batches(task.sampler, rng, len(task.train))
    return position.batches


def _step(
    task: Task,
    images: Tensor,
    batch: Tensor,
    rng: np.random.Generator,
    runtime: Runtime,
    first: bool,
) -> tuple[float, Tuples | None]:
    labels = task.labels[batch].to(runtime.device)
    with runtime.autocast():
        embeddings = task.model(images)
    compared, labels = _with_memory(task.sampler, embeddings, labels, batch)
    with torch.no_grad(), blaming(task.miner):
        tuples = mine(task.miner, compared.detach(), labels, rng)
    check_tuples(task.miner, tuples, labels)
    if first:
        check_labels(task.miner, tuples, labels)
    tuples = anchored(tuples, len(batch)) if len(labels) > len(batch) else tuples
    with blaming(task.loss):
        loss = task.loss(compared, labels, tuples)
    check_loss(task.loss, loss)
    if not bool(loss.isfinite() & embeddings.isfinite().all()):
        rows = ", ".join(str(int(i) // task.views) for i in task.train[batch][:16])
        more = ", ..." if len(batch) > 16 else ""
        raise DivergedError(
            f"the loss is {float(loss.detach())} for the batch of images {rows}{more}; no step "
            "was taken. Try a lower learning rate (--optimizer adamw:lr=...)."
        )
    task.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    task.optimizer.step()
    return float(loss.detach()), tuples


def _with_memory(
    sampler: Sampler, embeddings: Tensor, labels: Tensor, batch: Tensor
) -> tuple[Tensor, Tensor]:
    """The batch, followed by what the sampler remembers to compare it with."""
    remember = getattr(sampler, "remember", None)
    if remember is None:
        return embeddings, labels
    with torch.no_grad(), blaming(sampler):
        memory = remember(embeddings.detach(), labels, batch)
    check_memory(sampler, memory, embeddings)
    return torch.cat([embeddings, memory[0]]), torch.cat([labels, memory[1]])


def _close_epoch(task: Task, position: Position, summary: _Epoch) -> EpochRecord:
    position.epoch += 1
    position.step = 0
    scores = task.validate(task.model)
    first = next(iter(scores.values()), float(position.epoch))
    # Of equals the later: a validation set too easy to rank epochs must not pick the first.
    best = first >= position.best_score
    if best:
        position.best_score, position.best_epoch = first, position.epoch
    return EpochRecord(
        epoch=position.epoch,
        step=position.total_steps,
        loss=summary.loss / max(summary.steps, 1),
        empty_batches=summary.empty,
        validation=scores,
        best=best,
        seconds=time.perf_counter() - summary.began,
    )


def embed_images(
    model: EmbeddingModel, images: Images, indices: Tensor, runtime: Runtime, batch: int = 512
) -> Tensor:
    """Embeddings [M, D] on the CPU of the images [M] at `indices`."""
    return model.embed(read_ahead(images, indices.split(batch)), runtime)


def count(tuples: Tuples | None) -> int | None:
    """How many tuples there are; None when the loss sees the whole batch or a description."""
    if tuples is None or isinstance(tuples, AllPairs | AllTriplets):
        return None
    return len(tuples.anchor)
