"""What plugins hand to the loop, checked where it costs next to nothing; errors name the plugin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metricforge.contracts import (
    AllPairs,
    AllTriplets,
    Estimate,
    EvaluationProtocol,
    Loss,
    Miner,
    Pairs,
    Result,
    Sampler,
    Triplets,
    TupleKind,
)
from metricforge.errors import MetricForgeError, PluginError, ResourceError, UsageError, told
from metricforge.installed import owner_of

# No sampler shows an image a hundred times an epoch; one that never ends does.
MOST_VISITS, LEAST_LIMIT = 100, 100_000


def taken_batches(sampler: Sampler, rng: np.random.Generator, images: int) -> list[Tensor]:
    """The batches of an epoch over `images` images, each checked; there must be some, and an end.

    Raises PluginError for what :func:`check_batch` refuses, and for an epoch without end.
    """
    batches: list[Tensor] = []
    shown, limit = 0, max(MOST_VISITS * images, LEAST_LIMIT)
    with blaming(sampler):
        for batch in sampler.epoch(rng):
            check_batch(sampler, batch, images)
            batches.append(batch)
            shown += len(batch)
            if shown > limit:
                raise _broken(sampler, "must end its epoch", f"{shown} indices and more")
    if not batches:
        raise _broken(sampler, "must yield batches", "none")
    return batches


def check_batch(sampler: Sampler, batch: Any, images: int) -> None:
    """A batch must be a non-empty 1-D int64 tensor of indices into the train set."""
    if not isinstance(batch, Tensor) or batch.dtype != torch.int64 or batch.ndim != 1:
        raise _broken(sampler, "must yield 1-D int64 tensors of indices", _described(batch))
    if len(batch) == 0 or int(batch.min()) < 0 or int(batch.max()) >= images:
        given = f"{int(batch.min())} to {int(batch.max())}" if len(batch) else "an empty batch"
        raise _broken(sampler, f"must yield indices from 0 to {images - 1}", given)


def check_memory(sampler: Sampler, memory: Any, embeddings: Tensor) -> None:
    """What a sampler remembers must be embeddings and labels like those of the batch."""
    wanted = "must remember (embeddings [M, D], labels int64 [M])"
    if not isinstance(memory, tuple) or len(memory) != 2:
        raise _broken(sampler, wanted, _described(memory))
    rows, labels = memory
    like = (
        isinstance(rows, Tensor)
        and rows.shape[1:] == embeddings.shape[1:]
        and (rows.dtype, rows.device) == (embeddings.dtype, embeddings.device)
        and not rows.requires_grad
    )
    if not like:
        wanted = f"must remember embeddings like {_described(embeddings)}, without gradient"
        raise _broken(sampler, wanted, _described(rows))
    counts = isinstance(labels, Tensor) and labels.shape == rows.shape[:1]
    if not counts or labels.dtype != torch.int64 or labels.device != rows.device:
        raise _broken(sampler, wanted, _described(labels))


def check_tuples(miner: Miner, tuples: Any, labels: Tensor) -> None:
    """Tuples must be of the miner's kind, of one length, lie in the batch and on its device."""
    kinds: dict[Any, tuple[type, ...]] = {
        Pairs: (Pairs, AllPairs),
        Triplets: (Triplets, AllTriplets),
        None: (type(None),),
    }
    if not any(miner.kind is kind for kind in kinds):
        raise _broken(miner, "must have the kind Pairs, Triplets or None", f"{miner.kind!r}")
    if not isinstance(tuples, kinds[miner.kind]):
        expected = miner.kind.__name__ if miner.kind else "None"
        raise _broken(miner, f"must return {expected}", _described(tuples))
    if isinstance(tuples, Pairs | Triplets):
        _check_listed(miner, tuples, labels)


def _check_listed(miner: Miner, tuples: Pairs | Triplets, labels: Tensor) -> None:
    dtypes = (torch.int64, torch.int64, torch.bool if isinstance(tuples, Pairs) else torch.int64)
    for part, dtype in zip(tuples, dtypes, strict=True):
        if not isinstance(part, Tensor) or part.dtype != dtype or part.ndim != 1:
            raise _broken(miner, f"must return 1-D {dtype} tensors", _described(part))
        if part.device != labels.device:
            raise _broken(miner, f"must return tensors on {labels.device}", f"{part.device}")
    lengths = {len(part) for part in tuples}
    if len(lengths) > 1:
        raise _broken(miner, "must return parts of one length", f"{sorted(lengths)}")
    places = torch.cat(tuples[:2] if isinstance(tuples, Pairs) else list(tuples))
    if len(places) and not bool((places.min() >= 0) & (places.max() < len(labels))):
        lowest, highest = int(places.min()), int(places.max())
        expected = f"must return places from 0 to {len(labels) - 1}"
        raise _broken(miner, expected, f"{lowest} to {highest}")


def check_labels(miner: Miner, tuples: Any, labels: Tensor) -> None:
    """Tuples must be what they claim: positives of the anchor's class, negatives of another."""
    if isinstance(tuples, Pairs):
        true = tuples.same.equal(labels[tuples.anchor] == labels[tuples.other])
        wanted = "must return `same` true where two labels agree"
    elif isinstance(tuples, Triplets):
        of_anchor = labels[tuples.anchor]
        positives = bool((labels[tuples.positive] == of_anchor).all())
        true = positives and bool((labels[tuples.negative] != of_anchor).all())
        wanted = "must return positives of the anchor's class and negatives of others"
    else:
        return
    if not true:
        raise _broken(miner, wanted, "other labels; `metricforge plugins check` tells more")


def check_loss(loss: Loss, value: Any) -> None:
    """A loss must be a scalar with a graph."""
    if not isinstance(value, Tensor) or value.ndim != 0 or not value.requires_grad:
        raise _broken(loss, "must return a scalar tensor with a graph", _described(value))


def check_result(protocol: EvaluationProtocol, result: Any) -> None:
    """What a protocol measures must be finite numbers within their intervals, by name."""
    if not isinstance(result, Result):
        raise _broken(protocol, "must give a metricforge.contracts.Result", _described(result))
    if not isinstance(result.estimates, Mapping):
        raise _broken(protocol, "must give estimates by name", _described(result.estimates))
    for name, estimate in result.estimates.items():
        if not isinstance(estimate, Estimate) or not _in_numbers(estimate):
            raise _broken(protocol, f"must give '{name}' as an Estimate", _described(estimate))
        # Said this way round, the comparison is false for NaN.
        if not -math.inf < estimate.low <= estimate.value <= estimate.high < math.inf:
            given = f"{estimate.value} in [{estimate.low}, {estimate.high}]"
            raise _broken(protocol, f"must give '{name}' finite and in its interval", given)


def _in_numbers(estimate: Estimate) -> bool:
    return all(isinstance(n, Real) for n in (estimate.low, estimate.value, estimate.high))


def check_state(component: object, state: Any) -> None:
    """What a component has a checkpoint keep must be tensors by name: nothing is pickled."""
    if not isinstance(state, Mapping):
        raise _broken(component, "must give a state_dict of tensors by name", _described(state))
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            wanted = "must give a state_dict of tensors by name"
            raise _broken(component, wanted, f"{name!r}: {_described(value)}")


@contextmanager
def blaming(plugin: object) -> Iterator[None]:
    """Turn whatever a plugin raises in there into a PluginError that names it."""
    try:
        yield
    except MetricForgeError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        what = f"out of memory in {name_of(plugin)}"
        raise ResourceError(f"{what}; a smaller batch or smaller images take less.") from error
    except (Exception, SystemExit) as error:
        raise PluginError(f"{blame_of(plugin)} failed: {told(error)}.") from error


def sentences(sampler: Sampler) -> tuple[str, ...]:
    """What a sampler has to say of its train set."""
    notes = getattr(sampler, "notes", ())
    if not isinstance(notes, tuple | list) or not all(isinstance(note, str) for note in notes):
        raise _broken(sampler, "must have notes that are a tuple of sentences", _described(notes))
    return tuple(notes)


def check_miner(sampler: Sampler, miner: Any) -> None:
    """There must be a miner, and it must say its kind."""
    if miner is None:
        raise _broken(sampler, "must bring a miner", "none")
    if not hasattr(miner, "kind"):
        raise _broken(miner, "must have a kind: Pairs, Triplets or None", "none")


def accepted_kinds(loss: Any) -> tuple[TupleKind, ...] | None:
    """The kinds of tuples that a loss, or its class, says it takes; None: all of them."""
    kinds = getattr(loss, "accepts", None)
    if kinds is None:
        return None
    whole = isinstance(kinds, tuple | list | set | frozenset)
    if not whole or not all(kind is None or kind in (Pairs, Triplets) for kind in kinds):
        raise _broken(loss, "must have in `accepts` a tuple of Pairs, Triplets, None", repr(kinds))
    return tuple(kinds)


def check_fit(miner: Miner, loss: Loss, fitting: Callable[[], str]) -> None:
    """Refuse a miner and a loss that don't fit, before the first step.

    `fitting` lists the losses that do fit, for the message.
    """
    accepts = accepted_kinds(loss)
    if accepts is not None and miner.kind not in accepts:
        gives = miner.kind.__name__.lower() if miner.kind else "the whole batch"
        wants = " or ".join(kind.__name__.lower() if kind else "whole batches" for kind in accepts)
        raise UsageError(
            f"loss {name_of(loss)} compares {wants} and the miner {name_of(miner)} gives {gives}; "
            f"losses that fit: {fitting()}."
        )


def name_of(plugin: object) -> str:
    """The class of a component with its module: the one to look at when it misbehaves."""
    owner = plugin if hasattr(plugin, "__qualname__") else type(plugin)
    return f"{owner.__module__}:{owner.__qualname__}"


def blame_of(plugin: object) -> str:
    """The class of a component, and the distribution and version that it came with."""
    origin = owner_of(plugin)
    return f"{name_of(plugin)} of {origin}" if origin else name_of(plugin)


def _broken(plugin: object, contract: str, given: str) -> PluginError:
    return PluginError(f"{blame_of(plugin)} {contract}; it gave {given}.")


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor {list(value.shape)} on {value.device}"
    return f"{type(value).__name__}"
