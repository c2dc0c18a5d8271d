"""The training loop: batches from the sampler, tuples from the miner, a step, a record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from metricforge.data.batches import read_ahead
from metricforge.data.images import Images
from metricforge.model import EmbeddingModel
from metricforge.runtime import Runtime, generator
from metricforge.runtime.normalization import norms
from metricforge.training.blame import blaming, telling_of_memory
from metricforge.training.conduct import taken_batches
from metricforge.training.health import FEWEST, collapsed, effective_rank, spread
from metricforge.training.held_out import held_out
from metricforge.training.passes import Part, chunks_of
from metricforge.training.records import EpochRecord, Record, StepRecord
from metricforge.training.step import Outcome, take_step
from metricforge.training.tally import Tally
from metricforge.training.task import Position, Task


def fit(task: Task, position: Position, runtime: Runtime) -> Iterator[Record]:
    """Train from `position` to the end, yielding a record after each step and each epoch.

    `position` is kept up to date, so the caller may save or stop at any record. All randomness
    is a function of (seed, epoch, step): a training that stops and goes on draws the same.
    Raises DivergedError before the step when the loss or an embedding is not finite.
    """
    while not task.done(position):
        for record in _epoch(task, position, runtime):
            position.tally.add(record)
            position.seconds += record.seconds
            yield record
        yield _close_epoch(task, position, runtime)


def _epoch(task: Task, position: Position, runtime: Runtime) -> Iterator[StepRecord]:
    remaining = _steps(task, _batches(task, position, runtime))[position.step :]
    _prepare(task, position.epoch)
    began = time.perf_counter()
    for parts in _with_images(task, remaining, runtime):
        # A run may have been saved with its last step.
        if task.exhausted(position):
            return
        # The middle of the step: the first one is not taken at rate zero, nor the last.
        images = sum(len(part.batch) for part in parts)
        spent = task.spent(position, _count(task, position), more=images)
        for group in task.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * task.rate(position, spent)
        outcome = take_step(task, parts, position, runtime)
        position.step += 1
        position.total_steps += 1
        position.images += images
        position.tally.sample.add(outcome.embeddings)
        yield _record(task, position, outcome, time.perf_counter() - began, spent)
        began = time.perf_counter()


def _prepare(task: Task, epoch: int) -> None:
    """The network as it trains in an epoch: its backbone frozen or not, and its batch norm."""
    task.model.train()
    frozen = epoch < task.frozen
    if task.frozen:
        for group in task.optimizer.param_groups:
            if group.get("name") == "backbone":
                for parameter in group["params"]:
                    parameter.requires_grad_(not frozen)
    # What does not learn is shown as it will be used: no dropout, no statistics that move.
    if frozen:
        task.model.backbone.eval()
    if task.frozen_norms:
        for norm in norms(task.model):
            norm.eval()


def _steps(task: Task, batches: list[Tensor]) -> list[list[Tensor]]:
    """The batches of each step."""
    starts = range(0, len(batches), task.accumulate)
    return [batches[start : start + task.accumulate] for start in starts]


def _count(task: Task, position: Position) -> int:
    """How many steps the open epoch has."""
    return -(-len(position.batches) // task.accumulate)


def _with_images(task: Task, steps: list[list[Tensor]], runtime: Runtime) -> Iterator[list[Part]]:
    """The parts of each step, their images read while the network works on those before."""
    chunks = [[chunks_of(batch, runtime) for batch in step] for step in steps]
    indices = (task.train[chunk] for step in chunks for batch in step for chunk in batch)
    images = read_ahead(task.images, indices)
    for step, parts in zip(steps, chunks, strict=True):
        yield [
            Part(batch, [next(images) for _ in part])
            for batch, part in zip(step, parts, strict=True)
        ]


def _record(
    task: Task, position: Position, outcome: Outcome, seconds: float, spent: float
) -> StepRecord:
    """The record of the step that was just taken."""
    steps = _count(task, position)
    return StepRecord(
        epoch=position.epoch + 1,
        step=position.total_steps,
        steps_in_epoch=steps,
        loss=outcome.loss,
        tuples=outcome.tuples,
        images=len(outcome.embeddings),
        seconds=seconds,
        lr=task.optimizer.defaults["lr"] * task.rate(position, spent),
        spent=task.spent(position, steps),
        possible=outcome.possible,
        active=outcome.active,
        gradient_norm=outcome.norm,
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


def _close_epoch(task: Task, position: Position, runtime: Runtime) -> EpochRecord:
    tally, position.tally = position.tally, Tally()
    validated = task.validate(task.judged)
    compared = held_out(task, position, validated, runtime)
    position.epoch += 1
    position.step = 0
    scores = validated.scores
    # Without scores the last epoch is the best.
    first = next(iter(scores.values()), None)
    score = float(position.epoch) if first is None else -first if task.lower_is_better else first
    task.wait(position, score)
    # Of equals the later: a validation set too easy to rank epochs must not pick the first.
    best = score >= position.best_score
    if best:
        position.best_score, position.best_epoch = score, position.epoch
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
        validation_loss=compared.loss,
        validation_accuracy=compared.accuracy,
        validation_loss_failed=compared.failed,
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
    """Embeddings [M, D] on the CPU of the images [M] at `indices`, each rank doing its share."""
    size = min(runtime.chunk or batch, batch)

    def embed(share: Tensor) -> Tensor:
        return model.embed(read_ahead(images, share.split(size)), runtime)

    with telling_of_memory(size, runtime):
        return runtime.ranks.shared(embed, indices)
