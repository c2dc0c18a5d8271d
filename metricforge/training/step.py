"""One step of a training: embed, mine, score, and, if all is finite, descend the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from metricforge.contracts import Counting, Loss, Miner, Remembering, Sampler, Tuples
from metricforge.enforcement import (
    check_active,
    check_counted,
    check_labels,
    check_loss,
    check_memory,
    check_tuples,
    miner_of_step,
)
from metricforge.errors import DivergedError, few
from metricforge.pairwise import Classes
from metricforge.plugin_errors import blaming, broken, telling_of_memory
from metricforge.runtime import Runtime, generator, seed_torch
from metricforge.training.grad_cache import Part, Passes
from metricforge.training.mining import anchored, effective_miner, margin_of, mine
from metricforge.training.setup import TrainingSetup, TrainState
from metricforge.training.tuple_counts import Count, chosen, possible


@dataclass(frozen=True)
class Outcome:
    """The results of a step: loss, counts of tuples (see `StepRecord`), embeddings [B, D].

    `norm` is that of the gradient, if it is clipped and finite.
    """

    loss: float
    tuples: int | None
    possible: int | None
    active: int | None
    embeddings: Tensor
    norm: float | None = None


def take_step(
    setup: TrainingSetup, parts: Sequence[Part], state: TrainState, runtime: Runtime
) -> Outcome:
    """Train on the parts of the next step after `state`.

    Raises DivergedError before the weights change if the loss, an embedding or its gradient is not
    finite.
    """
    setup.optimizer.zero_grad(set_to_none=True)
    images = sum(len(part.batch) for part in parts)
    with telling_of_memory(images, runtime):
        outcomes = [
            _compare(setup, part, number, len(part.batch) / images, state, runtime)
            for number, part in enumerate(parts)
        ]
        norm = _descend(setup, runtime)
    return replace(_combined(outcomes), norm=norm)


def _compare(
    setup: TrainingSetup,
    part: Part,
    number: int,
    weight: float,
    state: TrainState,
    runtime: Runtime,
) -> Outcome:
    """Embed a batch, mine, score, and add `weight` times its gradient to the parameters."""
    batch, labels_cpu = part.batch, setup.labels[part.batch]
    labels = labels_cpu.to(runtime.device)
    # Miners and losses then need the labels without waiting for the device.
    Classes.remember(labels, labels_cpu)
    passes = Passes(setup, part, number, state, runtime)
    embeddings = passes.forward()
    # Seeded again, because the ranks' networks drew separately.
    seed_torch(setup.seed, state.epoch, state.step, number)
    compared, labels = _with_memory(setup.sampler, embeddings, labels, batch)
    tuples = _mined(setup, compared.detach(), labels, len(batch), state, number)
    loss, active = _scored(setup.loss, compared, labels, tuples)
    # Labels on the CPU are counted there, without the device.
    counts = _counts(tuples, labels_cpu if len(labels) == len(batch) else labels, len(batch))
    finite = loss.isfinite() & embeddings.isfinite().all()
    with blaming(setup.loss):
        setup.scaler.scale(loss * weight).backward()
    gradient = torch.zeros_like(embeddings) if embeddings.grad is None else embeddings.grad
    steep = gradient.isfinite().all()
    value, sound, slope, active, chosen_tuples, possible_tuples = _fetched(
        loss, finite, steep, active, *counts
    )
    if not (sound and slope):
        raise _diverged(setup, batch, value, bool(sound))
    if value and embeddings.grad is None:
        must = "must depend on the embeddings: nothing is learned from it"
        raise broken(setup.loss, must, f"{value:g} without a gradient to them")
    check_active(setup.loss, active, chosen_tuples)
    passes.backward(gradient)
    return Outcome(
        value, _whole(chosen_tuples), _whole(possible_tuples), _whole(active), embeddings.detach()
    )


def _scored(
    loss: Loss, embeddings: Tensor, labels: Tensor, tuples: Tuples | None
) -> tuple[Tensor, Count | None]:
    """The loss of a batch, and how many of its tuples contribute to it, if the loss counts."""
    if not isinstance(loss, Counting):
        with blaming(loss):
            value = loss(embeddings, labels, tuples)
        check_loss(loss, value)
        return value, None
    with blaming(loss):
        result = loss.counted(embeddings, labels, tuples)
    check_counted(loss, result)
    return result.value, result.active


def _descend(setup: TrainingSetup, runtime: Runtime) -> float | None:
    """Change the weights by the gradients of all ranks; their norm, if clipped and finite."""
    learning = setup.loss.parameters() if isinstance(setup.loss, nn.Module) else ()
    runtime.ranks.sum_gradients(
        (p for p in setup.model.parameters() if p.requires_grad),
        (p for p in learning if p.requires_grad),
    )
    norm = None
    if setup.clip is not None:
        setup.scaler.unscale_(setup.optimizer)
        every = [p for group in setup.optimizer.param_groups for p in group["params"]]
        length = float(nn.utils.clip_grad_norm_(every, setup.clip))
        # Infinite if the loss was scaled too far for fp16: the scaler skips that step.
        norm = length if math.isfinite(length) else None
    with blaming(setup.optimizer):
        setup.scaler.step(setup.optimizer)
    setup.scaler.update()
    if setup.average is not None:
        setup.average.update_parameters(setup.model)
    return norm


def _combined(outcomes: Sequence[Outcome]) -> Outcome:
    """The results of all batches of one step: the mean loss of their images, sums, embeddings."""
    if len(outcomes) == 1:
        return outcomes[0]
    sizes = [len(outcome.embeddings) for outcome in outcomes]
    return Outcome(
        sum(outcome.loss * size for outcome, size in zip(outcomes, sizes, strict=True))
        / sum(sizes),
        _sum(outcome.tuples for outcome in outcomes),
        _sum(outcome.possible for outcome in outcomes),
        _sum(outcome.active for outcome in outcomes),
        torch.cat([outcome.embeddings for outcome in outcomes]),
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _with_memory(
    sampler: Sampler, embeddings: Tensor, labels: Tensor, batch: Tensor
) -> tuple[Tensor, Tensor]:
    """The batch, followed by the embeddings that the sampler remembers to compare it with."""
    if not isinstance(sampler, Remembering):
        return embeddings, labels
    with torch.no_grad(), blaming(sampler):
        memory = sampler.remember(embeddings.detach(), labels, batch)
    check_memory(sampler, memory, embeddings)
    return torch.cat([embeddings, memory[0]]), torch.cat([labels, memory[1]])


def _mined(
    setup: TrainingSetup,
    embeddings: Tensor,
    labels: Tensor,
    anchors: int,
    state: TrainState,
    number: int,
) -> Tuples | None:
    """The tuples of the batch and its memory [B + M, D] whose anchors are in the batch."""
    miner: Miner = setup.miner
    if setup.miner_at is not None:
        step = state.step * setup.accumulate + number
        miner = miner_of_step(setup.sampler, setup.miner_at, state.epoch, step, miner)
    with blaming(miner):
        miner = effective_miner(miner, setup.loss)
    rng = generator(setup.seed, state.epoch, state.step * setup.accumulate + number)
    with torch.no_grad(), blaming(miner):
        tuples = mine(miner, embeddings, labels, rng, margin_of(setup.loss))
    check_tuples(miner, tuples, labels)
    if state.step == 0:
        check_labels(miner, tuples, labels)
    return anchored(tuples, anchors) if len(labels) > anchors else tuples


def _counts(
    tuples: Tuples | None, labels: Tensor, anchors: int
) -> tuple[Count | None, Count | None]:
    """The numbers of chosen and of possible tuples."""
    if tuples is None:
        return None, None
    return chosen(tuples, labels, anchors), possible(tuples, labels, anchors)


def _fetched(*values: Any) -> list[Any]:
    """The same with numbers in place of 0-d tensors, which are fetched all at once."""
    tensors = [value.detach() for value in values if isinstance(value, Tensor)]
    device = tensors[0].device
    # MPS lacks float64; only counts above 16 million are then rounded.
    exact = torch.float32 if device.type == "mps" else torch.float64
    numbers = iter(torch.stack([tensor.to(device, exact) for tensor in tensors]).tolist())
    return [next(numbers) if isinstance(value, Tensor) else value for value in values]


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _diverged(setup: TrainingSetup, batch: Tensor, loss: float, sound: bool) -> DivergedError:
    rows = (setup.train[batch] // setup.views).tolist()
    what = f"the loss is {loss}" if not sound else f"the loss is {loss}, without finite gradient,"
    return DivergedError(
        f"{what} for the batch of images {few(rows, 16)}; no step was taken. "
        "Try a lower learning rate, the option lr of the optimizer."
    )
