"""The sampler `schedule`."""

from __future__ import annotations

import inspect
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import Build, InnerSpec, Miner, Sampler, TupleKind
from metricforge.errors import UsageError

EXAMPLE = "schedule:0=random-triplets,5=hard-triplet"


class Schedule:
    """Other samplers one after the other, by epoch: 0=random-triplets,5=hard-triplet.

    An option is named for the epoch, from 0, at which a stage begins; its value is the spec of the
    stage's sampler. A spec with a comma goes in quotes, 5="hard-triplet:classes=8,per_class=2".
    Easy stages first are a cure for collapse.

    In the `blend` epochs from each change on, batches of both stages mix, and the fraction of the
    new stage rises linearly. The stage with the larger fraction shows every image. The other yields
    as many batches as make its fraction, or all it has if those are fewer. A stage that is blended
    into must last `blend` epochs.

    The miners of all stages must choose tuples of one kind, because one loss takes them all. The
    default loss is that of the last stage that names one, since it decides how the training ends.
    If a stage has `refresh`, e.g. global-hard, the train set is embedded after every epoch.

    Args:
        blend: Epochs from each change on in which both stages mix, 0 or more.
        stages: Spec of the sampler of a stage, under the epoch at which it begins; one begins at 0.
    """

    def __init__(
        self, labels: Tensor, build: Build[Sampler], *, blend: int = 0, **stages: InnerSpec
    ) -> None:
        if blend < 0:
            raise UsageError("schedule needs blend >= 0.")
        specs = _by_epoch(stages)
        self.blend, self._starts = blend, tuple(specs)
        _check_blend(blend, self._starts)
        self._stages: tuple[Any, ...] = tuple(build(spec) for spec in specs.values())
        _check(list(specs.values()), self._stages)
        self.miner: Miner = self._stages[0].miner
        losses = [getattr(stage, "default_loss", None) for stage in self._stages]
        self.default_loss = next(filter(None, reversed(losses)), None)
        notes = [note for stage in self._stages for note in getattr(stage, "notes", ())]
        self.notes = tuple(dict.fromkeys(notes))
        self._embeddings: Tensor | None = None
        if any(hasattr(stage, "refresh") for stage in self._stages):
            self.refresh = self._keep
        # The number of the blended epoch, and the stage of each of its batches.
        self._blended, self._owners = -1, torch.zeros(0, dtype=torch.int64)

    def epoch(self, rng: np.random.Generator, number: int) -> Iterator[Tensor]:
        """The batches of the stage of epoch `number`, from 0, or of the two that blend there."""
        stage, share = self._stage(number), self._share(number)
        if share == 1:
            yield from self._drawn(stage, rng, number)
            return
        old = list(self._drawn(stage - 1, rng, number))
        new = list(self._drawn(stage, rng, number))
        steps = _mixed(len(old), len(new), share, rng)
        self._blended = number
        self._owners = torch.tensor([stage - 1 + owner for owner, _ in steps])
        for owner, index in steps:
            yield (old, new)[owner][index]

    def miner_at(self, epoch: int, step: int) -> Miner:
        """The miner of the stage that a step's batch is from; epoch and step count from 0."""
        blended = epoch == self._blended
        stage = int(self._owners[step]) if blended else self._stage(epoch)
        miner: Miner = self._stages[stage].miner
        return miner

    def state_dict(self) -> dict[str, Tensor]:
        """The stage of each batch of a blended epoch, and the states of stages and miners."""
        state = {"blended": torch.tensor(self._blended), "owners": self._owners}
        for prefix, part in self._parts():
            state |= {prefix + name: value for name, value in part.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._blended, self._owners = int(state["blended"]), state["owners"]
        for prefix, part in self._parts():
            names = [name for name in state if name.startswith(prefix)]
            part.load_state_dict({name.removeprefix(prefix): state[name] for name in names})

    def _parts(self) -> Iterator[tuple[str, Any]]:
        for start, stage in zip(self._starts, self._stages, strict=True):
            for name, part in (("sampler", stage), ("miner", stage.miner)):
                if hasattr(part, "state_dict"):
                    yield f"{start}.{name}.", part

    def _keep(self, embeddings: Tensor) -> None:
        """Keep the embeddings [N, D] of the train set for the stages of the coming epoch."""
        self._embeddings = embeddings

    def _stage(self, number: int) -> int:
        """The index of the stage that an epoch belongs to."""
        return bisect_right(self._starts, number) - 1

    def _share(self, number: int) -> float:
        """The fraction of an epoch's batches from its stage; the rest are of the previous one."""
        stage = self._stage(number)
        since = number - self._starts[stage]
        return 1.0 if stage == 0 or since >= self.blend else (since + 1) / (self.blend + 1)

    def _drawn(self, index: int, rng: np.random.Generator, number: int) -> Iterator[Tensor]:
        """The batches of the stage of an index, for epoch `number`."""
        stage = self._stages[index]
        if self._embeddings is not None and hasattr(stage, "refresh"):
            stage.refresh(self._embeddings)
        asks = "number" in inspect.signature(stage.epoch).parameters
        batches: Iterator[Tensor] = stage.epoch(rng, number) if asks else stage.epoch(rng)
        return batches


def _by_epoch(stages: Mapping[str, str]) -> dict[int, str]:
    """The specs by the epochs at which they begin, in order; UsageError for other keys."""
    for key in stages:
        if not key.isdecimal() or str(int(key)) != key:
            raise UsageError(
                f"schedule can't begin a stage at '{key}': beside blend, its options are numbers "
                f"of epochs, from 0, as in {EXAMPLE}."
            )
    if "0" not in stages:
        raise UsageError(f"schedule needs a stage that begins at epoch 0, as in {EXAMPLE}.")
    return {int(key): stages[key] for key in sorted(stages, key=int)}


def _check_blend(blend: int, starts: tuple[int, ...]) -> None:
    """UsageError for a stage that ends before it is blended in: its fraction would fall again."""
    for start, end in pairwise(starts[1:]):
        if end - start < blend:
            raise UsageError(
                f"schedule can't blend for {blend} epochs into the stage of epoch {start}, which "
                f"ends at {end}; set blend={end - start} or less, or begin the next stage at "
                f"{start + blend} or later."
            )


def _check(specs: list[str], stages: tuple[Sampler, ...]) -> None:
    """UsageError for samplers that can't follow each other."""
    for spec, stage in zip(specs, stages, strict=True):
        if hasattr(stage, "remember"):
            raise UsageError(
                f"schedule can't have the stage '{spec}', which has a memory of its own; leave "
                "it out, or train with it alone."
            )
        if hasattr(stage, "miner_at"):
            raise UsageError(
                f"schedule can't have the stage '{spec}', which changes its miner itself; write "
                "its stages into this one."
            )
        if stage.miner.kind is not stages[0].miner.kind:
            first, other = _gives(stages[0].miner.kind), _gives(stage.miner.kind)
            raise UsageError(
                f"schedule can't go from '{specs[0]}' to '{spec}': one compares {first}, the "
                f"other {other}, and one loss must take both; take stages of one kind."
            )


def _gives(kind: TupleKind) -> str:
    return kind.__name__.lower() if kind else "whole batches"


def _mixed(old: int, new: int, share: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """The stage (0 old, 1 new) and the index of the batch of each step of a blended epoch.

    In random order: all batches of the stage with the larger fraction, and as many of the other's
    as make its fraction, or all.
    """
    if share >= 0.5:
        old_shown, new_shown = min(old, round(new * (1 - share) / share)), new
    else:
        old_shown, new_shown = old, min(new, round(old * share / (1 - share)))
    steps = [(0, index) for index in rng.permutation(old)[:old_shown].tolist()]
    steps += [(1, index) for index in rng.permutation(new)[:new_shown].tolist()]
    return [steps[number] for number in rng.permutation(len(steps))]
