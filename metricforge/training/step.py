"""One step of a training: embed, mine, score, and, where all is finite, go down the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import Miner, Sampler, Tuples
from metricforge.errors import DivergedError
from metricforge.pairwise import Classes
from metricforge.runtime import Runtime, generator
from metricforge.training.blame import blaming
from metricforge.training.conduct import (
    check_active,
    check_active_form,
    check_labels,
    check_loss,
    check_memory,
    check_tuples,
    miner_of_step,
)
from metricforge.training.counting import Count, chosen, possible
from metricforge.training.mining import anchored, give_margin, mine
from metricforge.training.task import Position, Task


@dataclass(frozen=True)
class Outcome:
    """What a step found: loss, counts of tuples (see `StepRecord`), embeddings [B, D]."""

    loss: float
    tuples: int | None
    possible: int | None
    active: int | None
    embeddings: Tensor


def take_step(
    task: Task, images: Tensor, batch: Tensor, position: Position, runtime: Runtime
) -> Outcome:
    """Train on the images [B, C, H, W] of a batch [B], the step that comes next at `position`.

    Raises DivergedError before the weights change when the loss or an embedding is not finite.
    """
    labels_cpu = task.labels[batch]
    labels = labels_cpu.to(runtime.device)
    # What miners and losses ask of the labels, they need not wait for the device to tell.
    Classes.remember(labels, labels_cpu)
    with runtime.autocast():
        embeddings = task.model(images)
    compared, labels = _with_memory(task.sampler, embeddings, labels, batch)
    tuples = _mined(task, compared.detach(), labels, len(batch), position)
    with blaming(task.loss):
        loss = task.loss(compared, labels, tuples)
        active = getattr(task.loss, "active", None)
    check_loss(task.loss, loss)
    check_active_form(task.loss, active)
    # Counting on the CPU what is known there leaves the device alone.
    counts = _counts(tuples, labels_cpu if len(labels) == len(batch) else labels, len(batch))
    finite = loss.isfinite() & embeddings.isfinite().all()
    value, sound, active, there, most = _fetched(loss, finite, active, *counts)
    if not sound:
        raise _diverged(task, batch, value)
    check_active(task.loss, active, there)
    task.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    task.optimizer.step()
    return Outcome(value, _whole(there), _whole(most), _whole(active), embeddings.detach())


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


def _mined(
    task: Task, embeddings: Tensor, labels: Tensor, anchors: int, position: Position
) -> Tuples | None:
    """The tuples of the batch and its memory [B + M, D] whose anchors are in the batch."""
    miner: Miner = task.miner
    if task.miner_at is not None:
        miner = miner_of_step(task.sampler, task.miner_at, position.epoch, position.step, miner)
    give_margin(miner, task.loss)
    rng = generator(task.seed, position.epoch, position.step)
    with torch.no_grad(), blaming(miner):
        tuples = mine(miner, embeddings, labels, rng)
    check_tuples(miner, tuples, labels)
    if position.step == 0:
        check_labels(miner, tuples, labels)
    return anchored(tuples, anchors) if len(labels) > anchors else tuples


def _counts(
    tuples: Tuples | None, labels: Tensor, anchors: int
) -> tuple[Count | None, Count | None]:
    """How many tuples there are, and how many are possible."""
    if tuples is None:
        return None, None
    return chosen(tuples, labels, anchors), possible(tuples, labels, anchors)


def _fetched(*values: Any) -> list[Any]:
    """The same with numbers in the place of 0-d tensors, which are waited for all at once."""
    tensors = [value.detach() for value in values if isinstance(value, Tensor)]
    device = tensors[0].device
    # What MPS lacks; only counts beyond 16 million are then rounded.
    exact = torch.float32 if device.type == "mps" else torch.float64
    numbers = iter(torch.stack([tensor.to(device, exact) for tensor in tensors]).tolist())
    return [next(numbers) if isinstance(value, Tensor) else value for value in values]


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _diverged(task: Task, batch: Tensor, loss: float) -> DivergedError:
    rows = ", ".join(str(int(i) // task.views) for i in task.train[batch][:16])
    more = ", ..." if len(batch) > 16 else ""
    return DivergedError(
        f"the loss is {loss} for the batch of images {rows}{more}; no step was taken. "
        "Try a lower learning rate (--optimizer adamw:lr=...)."
    )
