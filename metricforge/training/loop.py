"""The training loop: batches from the sampler, tuples from the miner, a step, a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from metricforge.contracts import Refreshing
from metricforge.data.images import Images
from metricforge.data.prefetch import read_ahead
from metricforge.enforcement import checked_batches
from metricforge.model import EmbeddingModel
from metricforge.plugin_errors import blaming, telling_of_memory
from metricforge.runtime import Runtime, generator
from metricforge.runtime.normalization import norms
from metricforge.training.frozen_features import FrozenFeatures
from metricforge.training.grad_cache import Part, chunks_of
from metricforge.training.health import FEWEST, collapsed, effective_rank, spread
from metricforge.training.mining import margin_of
from metricforge.training.records import EpochRecord, EpochSums, Record, StepRecord
from metricforge.training.setup import TrainingSetup, TrainState
from metricforge.training.step import Outcome, take_step
from metricforge.training.validation_loss import held_out


def fit(setup: TrainingSetup, state: TrainState, runtime: Runtime) -> Iterator[Record]:
    """Train from `state` to the end, yielding a record after each step and each epoch.

    `state` is kept up to date, so the caller may save or stop at any record. All randomness is a
    function of (seed, epoch, step): a training that is stopped and resumed draws the same. Raises
    DivergedError before the step if the loss or an embedding is not finite.
    """
    while not setup.done(state):
        for record in _epoch(setup, state, runtime):
            state.tally.add(record)
            state.seconds += _agreed(record.seconds, setup, runtime)
            yield record
        yield _close_epoch(setup, state, runtime)


def _agreed(seconds: float, setup: TrainingSetup, runtime: Runtime) -> float:
    """The seconds of a step: of a budget in seconds, those of the slowest rank, on all ranks.

    Each rank has a clock of its own, and the rates and the end follow the budget.
    """
    if setup.seconds_budget is None or runtime.ranks.count == 1:
        return seconds
    return runtime.ranks.highest(round(seconds * 1e6)) / 1e6


def _epoch(setup: TrainingSetup, state: TrainState, runtime: Runtime) -> Iterator[StepRecord]:
    remaining = _steps(setup, _batches(setup, state, runtime))[state.step :]
    _prepare(setup, state.epoch)
    began = time.perf_counter()
    for parts in _with_images(setup, remaining, state.epoch, runtime):
        # The checkpoint may be that of the last step.
        if setup.exhausted(state):
            return
        # The middle of the step: neither the first nor the last step has rate zero.
        images = sum(len(part.batch) for part in parts)
        spent = setup.spent(state, _count(setup, state), more=images)
        for group in setup.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * setup.rate(state, spent)
        outcome = take_step(setup, parts, state, runtime)
        state.step += 1
        state.total_steps += 1
        state.images += images
        state.tally.sample.add(outcome.embeddings)
        yield _record(setup, state, outcome, time.perf_counter() - began, spent)
        began = time.perf_counter()


def _prepare(setup: TrainingSetup, epoch: int) -> None:
    """Prepare the network for an epoch: its backbone frozen or not, and its batch norm."""
    setup.model.train()
    frozen = epoch < setup.frozen
    if setup.frozen:
        for group in setup.optimizer.param_groups:
            if group.get("name") == "backbone":
                for parameter in group["params"]:
                    parameter.requires_grad_(not frozen)
    # A frozen part runs in evaluation mode: no dropout, fixed statistics.
    if frozen:
        setup.model.backbone.eval()
    if setup.frozen_norms:
        for norm in norms(setup.model):
            norm.eval()


def _steps(setup: TrainingSetup, batches: list[Tensor]) -> list[list[Tensor]]:
    """The batches of each step."""
    starts = range(0, len(batches), setup.accumulate)
    return [batches[start : start + setup.accumulate] for start in starts]


def _count(setup: TrainingSetup, state: TrainState) -> int:
    """The number of steps of the open epoch."""
    return -(-len(state.batches) // setup.accumulate)


def _with_images(
    setup: TrainingSetup, steps: list[list[Tensor]], epoch: int, runtime: Runtime
) -> Iterator[list[Part]]:
    """The parts of each step; their images are read while the network processes those before."""
    chunks = [[chunks_of(batch, runtime) for batch in step] for step in steps]
    indices = (setup.train[chunk] for step in chunks for batch in step for chunk in batch)
    images = read_ahead(setup.shown(epoch), indices)
    for step, parts in zip(steps, chunks, strict=True):
        yield [
            Part(batch, [next(images) for _ in part])
            for batch, part in zip(step, parts, strict=True)
        ]


def _record(
    setup: TrainingSetup, state: TrainState, outcome: Outcome, seconds: float, spent: float
) -> StepRecord:
    """The record of the step that was just made."""
    steps = _count(setup, state)
    return StepRecord(
        epoch=state.epoch + 1,
        step=state.total_steps,
        steps_in_epoch=steps,
        loss=outcome.loss,
        tuples=outcome.tuples,
        images=len(outcome.embeddings),
        seconds=seconds,
        lr=setup.optimizer.defaults["lr"] * setup.rate(state, spent),
        spent=setup.spent(state, steps),
        possible=outcome.possible,
        active=outcome.active,
        gradient_norm=outcome.norm,
    )


def _batches(setup: TrainingSetup, state: TrainState, runtime: Runtime) -> list[Tensor]:
    """The batches of the open epoch; drawn once, when it begins.

    A list takes 8 bytes an image and has the number of steps. With it a checkpoint in the middle of
    an epoch contains what a refreshed sampler could not draw again.
    """
    if state.step and state.batches:
        return state.batches
    sampler = setup.sampler
    if isinstance(sampler, Refreshing) and state.epoch > 0:
        embeddings = embed_images(setup.model, setup.images, setup.train, runtime)
        with blaming(sampler):
            sampler.refresh(embeddings)
    rng = generator(setup.seed, state.epoch)
    batches = checked_batches(sampler, rng, len(setup.train), state.epoch)
    # Samplers that arrange tuples in the batch repeat images; another miner would pair an image
    # with itself.
    state.batches = [once(batch) for batch in batches] if setup.replaced else batches
    return state.batches


def once(batch: Tensor) -> Tensor:
    """The images of a batch [B], each at its first index."""
    images, first = np.unique(batch.numpy(), return_index=True)
    return batch if len(images) == len(batch) else batch[np.sort(first)]


def _close_epoch(setup: TrainingSetup, state: TrainState, runtime: Runtime) -> EpochRecord:
    tally, state.tally = state.tally, EpochSums()
    validated = setup.validate(setup.judged)
    compared = held_out(setup, state, validated, runtime)
    state.epoch += 1
    state.step = 0
    scores = validated.scores
    # Without scores the last epoch is the best.
    first = next(iter(scores.values()), None)
    score = float(state.epoch) if first is None else -first if setup.lower_is_better else first
    setup.wait(state, score)
    # Of equals the later: a validation set too easy to rank epochs must not select the first.
    best = score >= state.best_score
    if best:
        state.best_score, state.best_epoch = score, state.epoch
    return EpochRecord(
        epoch=state.epoch,
        step=state.total_steps,
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
        **_health(setup, tally),
    )


def _health(setup: TrainingSetup, tally: EpochSums) -> dict[str, Any]:
    """The health of the embeddings of the epoch's last steps; empty if there are none."""
    rows = tally.sample.rows()
    if rows is None:
        return {}
    apart, margin = spread(rows), margin_of(setup.loss)
    return {
        "spread": apart,
        "effective_rank": effective_rank(rows),
        "collapsed": len(rows) >= FEWEST
        and collapsed(apart, tally.loss, margin, tally.active_share),
    }


def embed_images(
    model: EmbeddingModel,
    images: Images,
    indices: Tensor,
    runtime: Runtime,
    done: Callable[[int], object] | None = None,
) -> Tensor:
    """Embeddings [M, D] on the CPU of the images [M] at `indices`; each rank embeds a part.

    `done` is called with the number of images of each batch of this rank.
    """
    size = min(runtime.chunk or model.batch, model.batch)

    def batches(share: Tensor) -> Iterator[Tensor]:
        for batch in read_ahead(images, share.split(size)):
            yield batch
            if done:
                done(len(batch))

    def embed(share: Tensor) -> Tensor:
        return model.embed(batches(share), runtime)

    with telling_of_memory(size, runtime):
        if isinstance(images, FrozenFeatures):
            images.compute(indices)
        return runtime.ranks.shared(embed, indices)
