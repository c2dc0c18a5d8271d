"""A sampler at work: built, its epochs drawn as the core draws them, its miner asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import Tuples
from metricforge.runtime import generator
from metricforge.testing.checks import Broken, obey
from metricforge.testing.memories import step_through
from metricforge.testing.subject import Subject
from metricforge.testing.trainsets import TrainSet, unit_rows
from metricforge.training.conduct import check_tuples, taken_batches
from metricforge.training.mining import mine


def made(subject: Subject, case: TrainSet) -> Any:
    """A fresh sampler of a train set."""
    return subject.build(labels=case.labels.clone(), groups=case.groups)


def drawn(sampler: Any, case: TrainSet, epoch: int = 0, seed: int = 0) -> list[Tensor]:
    """The batches of an epoch, with the rng that the core would give, taken as the core does."""
    batches: list[Tensor] = []
    obey(lambda: batches.extend(taken_batches(sampler, generator(seed, epoch), case.size)))
    return batches


def mined(sampler: Any, case: TrainSet, batch: Tensor) -> Tuples | None:
    """What its miner gives for one of its batches, of the agreed form."""
    labels = case.labels[batch]
    tuples = mine(sampler.miner, unit_rows(len(batch), seed=7), labels, generator(0, 0, 0))
    obey(check_tuples, sampler.miner, tuples, labels)
    return tuples


def lived_through(sampler: Any, case: TrainSet, epoch: int) -> list[Tensor]:
    """An epoch as the core runs it: refreshed before all but the first, remembered at each step."""
    if epoch and hasattr(sampler, "refresh"):
        sampler.refresh(case.embeddings(epoch))
    batches = drawn(sampler, case, epoch)
    if hasattr(sampler, "remember"):
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
