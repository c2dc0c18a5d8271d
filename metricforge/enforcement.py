"""Cheap checks of the values that plugins return to the loop; errors name the plugin."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from numbers import Real
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import (
    AllPairs,
    AllTriplets,
    Counted,
    Estimate,
    EvaluationProtocol,
    Loss,
    Miner,
    Noting,
    Pairs,
    Reducing,
    Result,
    Sampler,
    Schedule,
    Triplets,
    TupleKind,
)
from metricforge.errors import UsageError
from metricforge.plugin_errors import blaming, broken, described, name_of

# No sampler shows an image a hundred times an epoch; one that never ends does.
MOST_VISITS, LEAST_LIMIT = 100, 100_000


def factor_of(schedule: Schedule, spent: float) -> float:
    """The factor on the learning rate when a fraction of the budget is spent, checked."""
    with blaming(schedule):
        return _factor(schedule, "must give", schedule(spent))


def reduced_by(schedule: Reducing, rate: float) -> float:
    """The factor after epochs without a better score, checked."""
    with blaming(schedule):
        reduced = _factor(schedule, "must reduce the rate to", schedule.reduced(rate))
    if reduced > rate:
        raise broken(schedule, f"must reduce the rate from {rate:g}", f"{reduced:g}")
    return reduced


def patience_of(schedule: Reducing) -> int:
    """The epochs without a better score after which it reduces the rate, checked."""
    with blaming(schedule):
        patience = schedule.patience
    if not isinstance(patience, int) or patience < 1:
        raise broken(schedule, "must have a patience of 1 epoch or more", f"{patience!r}")
    return patience


def _factor(schedule: object, what: str, value: object) -> float:
    # False for NaN.
    if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise broken(schedule, f"{what} a factor on the learning rate, 0 or more", f"{value!r}")
    return float(value)


def checked_batches(
    sampler: Sampler, rng: np.random.Generator, images: int, number: int = 0
) -> list[Tensor]:
    """The batches of epoch `number` over `images` images, checked.

    Raises PluginError for a batch that :func:`as_batch` refuses, for an index that no image has,
    and for an epoch without batches or without end.
    """
    batches: list[Tensor] = []
    shown, limit = 0, max(MOST_VISITS * images, LEAST_LIMIT)
    with blaming(sampler):
        options: Any = {"number": number} if asks(sampler.epoch, "number") else {}
        for batch in sampler.epoch(rng, **options):
            batches.append(as_batch(sampler, batch))
            shown += len(batch)
            if shown > limit:
                raise broken(sampler, "must end its epoch", f"{shown} indices and more")
        if not batches:
            raise broken(sampler, "must yield batches", "none")
        # Once for all of them: a check of each would take longer than its draw.
        lowest, highest = (int(end) for end in torch.cat(batches).aminmax())
    if lowest < 0 or highest >= images:
        contract = f"must yield indices from 0 to {images - 1}"
        raise broken(sampler, contract, f"{lowest} to {highest}")
    return batches


def as_batch(sampler: Sampler, batch: Any) -> Tensor:
    """A batch as a tensor; it must be one, or an array, non-empty, 1-D and int64."""
    if isinstance(batch, np.ndarray) and batch.dtype == np.int64:
        # A copy: the sampler may reuse its array.
        batch = torch.from_numpy(batch.copy())
    if not isinstance(batch, Tensor) or batch.dtype != torch.int64 or batch.ndim != 1:
        contract = "must yield 1-D int64 tensors or arrays of indices"
        raise broken(sampler, contract, described(batch))
    if len(batch) == 0:
        raise broken(sampler, "must yield batches of images", "an empty batch")
    return batch


def check_memory(sampler: Sampler, memory: Any, embeddings: Tensor) -> None:
    """The memory of a sampler must be embeddings and labels like those of the batch."""
    contract = "must remember (embeddings [M, D], labels int64 [M])"
    if not isinstance(memory, tuple) or len(memory) != 2:
        raise broken(sampler, contract, described(memory))
    rows, labels = memory
    like = (
        isinstance(rows, Tensor)
        and rows.shape[1:] == embeddings.shape[1:]
        and (rows.dtype, rows.device) == (embeddings.dtype, embeddings.device)
        and not rows.requires_grad
    )
    if not like:
        contract = f"must remember embeddings like {described(embeddings)}, without gradient"
        raise broken(sampler, contract, described(rows))
    counts = isinstance(labels, Tensor) and labels.shape == rows.shape[:1]
    if not counts or labels.dtype != torch.int64 or labels.device != rows.device:
        raise broken(sampler, contract, described(labels))


def check_tuples(miner: Miner, tuples: Any, labels: Tensor) -> None:
    """Tuples must be of the miner's kind, of one length, lie in the batch and on its device."""
    kinds: dict[Any, tuple[type, ...]] = {
        Pairs: (Pairs, AllPairs),
        Triplets: (Triplets, AllTriplets),
        None: (type(None),),
    }
    if not any(miner.kind is kind for kind in kinds):
        raise broken(miner, "must have the kind Pairs, Triplets or None", f"{miner.kind!r}")
    if not isinstance(tuples, kinds[miner.kind]):
        expected = miner.kind.__name__ if miner.kind else "None"
        raise broken(miner, f"must return {expected}", described(tuples))
    if isinstance(tuples, Pairs | Triplets):
        _check_listed(miner, tuples, labels)


def _check_listed(miner: Miner, tuples: Pairs | Triplets, labels: Tensor) -> None:
    dtypes = (torch.int64, torch.int64, torch.bool if isinstance(tuples, Pairs) else torch.int64)
    for part, dtype in zip(tuples, dtypes, strict=True):
        if not isinstance(part, Tensor) or part.dtype != dtype or part.ndim != 1:
            raise broken(miner, f"must return 1-D {dtype} tensors", described(part))
        if part.device != labels.device:
            raise broken(miner, f"must return tensors on {labels.device}", f"{part.device}")
    lengths = {len(part) for part in tuples}
    if len(lengths) > 1:
        raise broken(miner, "must return parts of one length", f"{sorted(lengths)}")
    positions = torch.cat(tuples[:2] if isinstance(tuples, Pairs) else list(tuples))
    if len(positions) and not bool((positions.min() >= 0) & (positions.max() < len(labels))):
        lowest, highest = int(positions.min()), int(positions.max())
        expected = f"must return places from 0 to {len(labels) - 1}"
        raise broken(miner, expected, f"{lowest} to {highest}")


def check_labels(miner: Miner, tuples: Any, labels: Tensor) -> None:
    """Positives must be of the anchor's class, negatives of another."""
    if isinstance(tuples, Pairs):
        true = tuples.same.equal(labels[tuples.anchor] == labels[tuples.other])
        contract = "must return `same` true where two labels agree"
    elif isinstance(tuples, Triplets):
        of_anchor = labels[tuples.anchor]
        positives = bool((labels[tuples.positive] == of_anchor).all())
        true = positives and bool((labels[tuples.negative] != of_anchor).all())
        contract = "must return positives of the anchor's class and negatives of others"
    else:
        return
    if not true:
        raise broken(miner, contract, "other labels; `metricforge plugins check` tells more")


def check_loss(loss: Loss, value: Any) -> None:
    """A loss must be a scalar with a graph."""
    if not isinstance(value, Tensor) or value.ndim != 0 or not value.requires_grad:
        raise broken(loss, "must return a scalar tensor with a graph", described(value))


def check_counted(loss: Loss, counted: Any) -> None:
    """The return value of `counted` must be a Counted of a loss and an int or a 0-d tensor."""
    if not isinstance(counted, Counted):
        contract = "must give by counted() a metricforge.contracts.Counted"
        raise broken(loss, contract, described(counted))
    check_loss(loss, counted.value)
    active = counted.active
    number = isinstance(active, Tensor) and active.ndim == 0 and active.dtype != torch.bool
    count = isinstance(active, int) and not isinstance(active, bool)
    if not (number or count):
        contract = "must give in `active` how many tuples have a share in the loss"
        raise broken(loss, contract, described(active))


def check_active(loss: Loss, active: float | None, tuples: float | None) -> None:
    """The active tuples must be 0 or more, and no more than all tuples, if that is known."""
    most = math.inf if tuples is None else tuples
    # Written this way round, the comparison is false for NaN.
    if active is not None and not (0 <= active <= most and active < math.inf):
        contract = "must give in `active` how many tuples have a share in the loss"
        raise broken(loss, contract, f"{active:g}" + ("" if tuples is None else f" of {most:g}"))


def check_result(protocol: EvaluationProtocol, result: Any) -> None:
    """The metrics of a protocol must be finite and in their intervals, by name."""
    if not isinstance(result, Result):
        raise broken(protocol, "must give a metricforge.contracts.Result", described(result))
    if not isinstance(result.estimates, Mapping):
        raise broken(protocol, "must give estimates by name", described(result.estimates))
    for name, estimate in result.estimates.items():
        if not isinstance(result.definitions.get(name), str):
            contract = f"must say in Result.definitions what '{name}' is"
            raise broken(protocol, contract, described(result.definitions.get(name)))
        if not isinstance(estimate, Estimate) or not _in_numbers(estimate):
            raise broken(protocol, f"must give '{name}' as an Estimate", described(estimate))
        # Written this way round, the comparison is false for NaN.
        if not -math.inf < estimate.low <= estimate.value <= estimate.high < math.inf:
            actual = f"{estimate.value} in [{estimate.low}, {estimate.high}]"
            raise broken(protocol, f"must give '{name}' finite and in its interval", actual)


def _in_numbers(estimate: Estimate) -> bool:
    return all(isinstance(n, Real) for n in (estimate.low, estimate.value, estimate.high))


def check_state(component: object, state: Any) -> None:
    """The state of a component in a checkpoint must be tensors by name: nothing is pickled."""
    if not isinstance(state, Mapping):
        raise broken(component, "must give a state_dict of tensors by name", described(state))
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            contract = "must give a state_dict of tensors by name"
            raise broken(component, contract, f"{name!r}: {described(value)}")


def sentences(sampler: Sampler) -> tuple[str, ...]:
    """The notes of a sampler on its train set."""
    notes = sampler.notes if isinstance(sampler, Noting) else ()
    if not isinstance(notes, tuple | list) or not all(isinstance(note, str) for note in notes):
        raise broken(sampler, "must have notes that are a tuple of sentences", described(notes))
    return tuple(notes)


def check_miner(sampler: Sampler, miner: Any) -> None:
    """There must be a miner, and it must have a kind."""
    if miner is None:
        raise broken(sampler, "must bring a miner", "none")
    if not hasattr(miner, "kind"):
        raise broken(miner, "must have a kind: Pairs, Triplets or None", "none")


def miner_of_step(
    sampler: Sampler, miner_at: Callable[[int, int], Miner], epoch: int, step: int, first: Miner
) -> Miner:
    """The miner of an epoch and step; it is of the kind of the first, which the loss takes."""
    with blaming(sampler):
        miner = miner_at(epoch, step)
    check_miner(sampler, miner)
    if miner.kind is not first.kind:
        contract = f"must give by miner_at miners of one kind, {first.kind!r}"
        raise broken(sampler, contract, f"{miner.kind!r} at epoch {epoch}, step {step}")
    return miner


def accepted_kinds(loss: Any) -> tuple[TupleKind, ...] | None:
    """The kinds of tuples that a loss, or its class, declares to take; None: all of them."""
    kinds = getattr(loss, "accepts", None)
    if kinds is None:
        return None
    whole = isinstance(kinds, tuple | list | set | frozenset)
    if not whole or not all(kind is None or kind in (Pairs, Triplets) for kind in kinds):
        raise broken(loss, "must have in `accepts` a tuple of Pairs, Triplets, None", repr(kinds))
    return tuple(kinds)


def check_fit(
    miner: Miner, loss: Loss, fitting: Callable[[], str], names: tuple[str, str] | None = None
) -> None:
    """Refuse a miner and a loss that don't fit, before the first step.

    For the message, `fitting` lists the losses that do fit, and `names` are the user's names of the
    two.
    """
    accepts = accepted_kinds(loss)
    if accepts is not None and miner.kind not in accepts:
        gives = miner.kind.__name__.lower() if miner.kind else "the whole batch"
        wants = " or ".join(kind.__name__.lower() if kind else "whole batches" for kind in accepts)
        by_miner, by_loss = names or (name_of(miner), name_of(loss))
        raise UsageError(
            f"loss {by_loss} compares {wants} and the miner {by_miner} gives {gives}; "
            f"losses that fit: {fitting()}."
        )


def asks(call: Any, name: str) -> bool:
    """Whether a callable of a plugin takes an argument of this name."""
    if isinstance(call, MethodType):
        return name in _parameters(call.__func__)
    if isinstance(call, FunctionType):
        return name in _parameters(call)
    return name in _parameters(type(call).__call__)


# Cached, since every step needs it and reading a signature takes longer than mining.
@lru_cache(maxsize=64)
def _parameters(function: Any) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except (ValueError, TypeError):  # built in C: it has no names to read
        return frozenset()
