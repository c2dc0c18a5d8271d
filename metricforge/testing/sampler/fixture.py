"""Builds samplers, draws their epochs as the core does, and calls their miners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import Miner, Refreshing, Remembering, Sampler, Scheduled, Tuples
from metricforge.enforcement import check_tuples, checked_batches, miner_of_step
from metricforge.runtime import generator
from metricforge.testing.checks import Broken, obey
from metricforge.testing.miner.fixture import MARGIN
from metricforge.testing.sampler.memory_checks import step_through
from metricforge.testing.sampler.train_sets import TrainSet, unit_rows
from metricforge.testing.subject import Subject
from metricforge.training.mining import mine

CHANGES = 4  # epochs in which a sampler may change its miner


def made(subject: Subject, case: TrainSet) -> Any:
    """A fresh sampler of a train set."""
    return subject.build(labels=case.labels.clone(), groups=case.groups)


def drawn(sampler: Any, case: TrainSet, epoch: int = 0, seed: int = 0) -> list[Tensor]:
    """The batches of an epoch, with the rng of the core, read as the core does."""
    batches: list[Tensor] = []
    rng = generator(seed, epoch)
    obey(lambda: batches.extend(checked_batches(sampler, rng, case.size, epoch)))
    return batches


def mined(
    sampler: Any, case: TrainSet, batch: Tensor, step: int = 0, epoch: int = 0
) -> Tuples | None:
    """The tuples of its miner for the batch of a step, checked for their form."""
    labels, miner = case.labels[batch], miner_of(sampler, epoch, step)
    tuples = mine(miner, unit_rows(len(batch), seed=7), labels, generator(0, epoch, step), MARGIN)
    obey(check_tuples, miner, tuples, labels)
    return tuples


def miner_of(sampler: Sampler, epoch: int, step: int) -> Miner:
    """The miner of a step, as the core gets it."""
    miner: Miner = sampler.miner
    if isinstance(sampler, Scheduled):
        miners: list[Miner] = []
        obey(lambda: miners.append(miner_of_step(sampler, sampler.miner_at, epoch, step, miner)))
        (miner,) = miners
    return miner


def all_mined(sampler: Any, case: TrainSet) -> Iterator[tuple[Tensor, Tuples | None]]:
    """Each batch with its tuples: of one epoch, or of more for a sampler that changes its miner."""
    for epoch in range(CHANGES if isinstance(sampler, Scheduled) else 1):
        for step, batch in enumerate(drawn(sampler, case, epoch)):
            yield batch, mined(sampler, case, batch, step, epoch)


def lived_through(sampler: Any, case: TrainSet, epoch: int) -> list[Tensor]:
    """An epoch as the core runs it: refreshed before all but the first, remembered at each step."""
    if epoch and isinstance(sampler, Refreshing):
        sampler.refresh(case.embeddings(epoch))
    batches = drawn(sampler, case, epoch)
    if isinstance(sampler, Remembering):
        step_through(sampler, case, batches, epoch)
    return batches


def check_complete(batches: list[Tensor], case: TrainSet) -> None:
    shown = torch.zeros(case.size, dtype=torch.bool)
    shown[torch.cat(batches)] = True
    missing = (~shown).nonzero().squeeze(1)
    if len(missing):
        first = ", ".join(str(int(i)) for i in missing[:3])
        raise Broken(
            f"left out {len(missing)} of {case.size} images in an epoch (the first: {first}); "
            "show every image, those of small classes and of a last short batch, too."
        )


def same_batches(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(a.equal(b) for a, b in zip(first, second, strict=True))
