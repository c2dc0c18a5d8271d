"""The training loop: batches from the sampler, tuples from the miner, a step, a record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from metricforge.data.batches import read_ahead
from metricforge.data.images import Images
from metricforge.model import EmbeddingModel
from metricforge.runtime import Runtime, generator, seed_torch
from metricforge.training.blame import blaming
from metricforge.training.conduct import taken_batches
from metricforge.training.health import FEWEST, collapsed, effective_rank, spread
from metricforge.training.records import EpochRecord, Record, StepRecord
from metricforge.training.step import Outcome, take_step
from metricforge.training.tally import Tally
from metricforge.training.task import Position, Task


def fit(
    task: Task, position: Position, runtime: Runtime, earlier: Iterable[StepRecord] = ()
) -> Iterator[Record]:
    """Train from `position` to the end, yielding a record after each step and each epoch.

    `position` is kept up to date, so the caller may save or stop at any record. All randomness
    is a function of (seed, epoch, step): a training that stops and goes on draws the same.
    `earlier` are the records of the steps that the open epoch has behind it, for its sums.
    Raises DivergedError before the step when the loss or an embedding is not finite.
    """
    while position.epoch < task.epochs:
        tally = Tally(earlier)
        earlier = ()
        for record in _epoch(task, position, runtime, tally):
            tally.add(record)
            yield record
        yield _close_epoch(task, position, tally)


def _epoch(task: Task, position: Position, runtime: Runtime, tally: Tally) -> Iterator[StepRecord]:
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
        outcome = take_step(
            task, _seen(task, shown, batch, position, runtime), batch, position, runtime
        )
        tally.sample.add(outcome.embeddings)
        position.step += 1
        position.total_steps += 1
        yield _record(task, position, outcome, time.perf_counter() - began)
        began = time.perf_counter()


def _seen(
    task: Task, images: Tensor, batch: Tensor, position: Position, runtime: Runtime
) -> Tensor:
    """Images [B, C, H, W] of a batch as the network is shown them: on the device, augmented."""
    shown = runtime.prepare(images)
    if task.augment is None:
        return shown
    return runtime.prepare(task.augment(shown, position.epoch, task.train[batch]))


def _record(task: Task, position: Position, outcome: Outcome, seconds: float) -> StepRecord:
    """The record of the step that was just taken."""
    steps = len(position.batches)
    return StepRecord(
        epoch=position.epoch + 1,
        step=position.total_steps,
        steps_in_epoch=steps,
        loss=outcome.loss,
        tuples=outcome.tuples,
        images=len(outcome.embeddings),
        seconds=seconds,
        lr=task.optimizer.param_groups[0]["lr"],
        spent=(position.epoch + position.step / steps) / task.epochs,
        possible=outcome.possible,
        active=outcome.active,
    )


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
    batches = taken_batches(task.sampler, rng, len(task.train), position.epoch)
    # Samplers that lay their tuples out repeat images; another miner would pair them with
    # themselves.
    position.batches = [once(batch) for batch in batches] if task.replaced else batches
    return position.batches


def once(batch: Tensor) -> Tensor:
    """The images of a batch [B], each where it comes first."""
    images, first = np.unique(batch.numpy(), return_index=True)
    return batch if len(images) == len(batch) else batch[np.sort(first)]


def _close_epoch(task: Task, position: Position, tally: Tally) -> EpochRecord:
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
        loss=tally.loss,
        empty_batches=tally.empty,
        validation=scores,
        best=best,
        seconds=tally.seconds,
        active_share=tally.active_share,
        chosen_share=tally.chosen_share,
        **_health(task, tally),
    )


def _health(task: Task, tally: Tally) -> dict[str, Any]:
    """Of the embeddings of the epoch's last steps; nothing where there are none to judge."""
    rows = tally.sample.rows()
    if rows is None:
        return {}
    apart, margin = spread(rows), getattr(task.loss, "margin", None)
    return {
        "spread": apart,
        "effective_rank": effective_rank(rows),
        "collapsed": len(rows) >= FEWEST
        and collapsed(apart, tally.loss, margin, tally.active_share),
    }


def embed_images(
    model: EmbeddingModel, images: Images, indices: Tensor, runtime: Runtime, batch: int = 512
) -> Tensor:
    """Embeddings [M, D] on the CPU of the images [M] at `indices`."""
    return model.embed(read_ahead(images, indices.split(batch)), runtime)
