"""The value and the gradient of a loss, on usual and unusual batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from metricforge.contracts import AllPairs, AllTriplets, Pairs
from metricforge.testing.batches import (
    APART,
    CROSSED,
    DOUBLED,
    LONG,
    ORIGIN,
    RANDOM,
    SINGLE_CLASS,
    TIED,
    not_a_number,
    random_batch,
)
from metricforge.testing.checkpoints import put_state, state_of
from metricforge.testing.checks import Broken, Skipped, on_input
from metricforge.testing.loss.fixture import (
    backward,
    for_each_kind,
    inputs_of,
    kind_label,
    kinds_of,
    made,
    value_of,
    weights_of,
)
from metricforge.testing.subject import Subject
from metricforge.testing.tuples import all_of, none_of


def gradient_reaches_what_learns(subject: Subject) -> str | None:
    """The gradient reaches the embeddings, and the weights of a loss that has some."""
    silent: set[str] = set()
    for kind, loss in for_each_kind(subject):
        with on_input(f"{RANDOM.name}, {kind_label(kind)}"):
            embeddings, labels = inputs_of(RANDOM)
            value_of(loss, embeddings, labels, all_of(kind, labels)).backward()
            if embeddings.grad is None or not bool(embeddings.grad.any()):
                raise Broken(
                    "gave the embeddings no gradient; compute the value from them, without "
                    "detach(), item() or numpy."
                )
            weights = weights_of(loss)
            idle = {name for name, weight in weights.items() if weight.grad is None}
            if weights and len(idle) == len(weights):
                raise Broken("gave no weight a gradient; let the value depend on its parameters.")
            silent |= idle
    return f"no gradient for {', '.join(sorted(silent))}." if silent else None


def gradient_is_the_derivative(subject: Subject) -> None:
    """In float64 the gradient is that of the value, by finite differences."""
    batch = random_batch(12, 3).to(torch.float64)
    for kind, loss in for_each_kind(subject):
        with on_input(f"{batch.name}, {kind_label(kind)}"):
            loss = loss.double() if isinstance(loss, nn.Module) else loss
            put_back = _state_restorer(loss)
            tuples = all_of(kind, batch.labels)

            def value(rows: Tensor, *_: Tensor, loss: Any = loss, tuples: Any = tuples) -> Tensor:
                put_back()  # noqa: B023 - it is called in this turn of the loop only
                return value_of(loss, rows, batch.labels, tuples).double()

            rows = batch.embeddings.clone().requires_grad_()
            try:
                torch.autograd.gradcheck(value, (rows, *weights_of(loss).values()), fast_mode=True)
            except GradcheckError as error:
                reason = " ".join(str(error).split()).partition(" The above")[0]
                raise Broken(
                    f"has a gradient that is not its derivative ({reason}); look for "
                    "detach(), in-place changes and a cut-off constant."
                ) from error


def _state_restorer(loss: Any) -> Callable[[], None]:
    """A function that restores the state that a loss keeps from step to step, not its weights."""
    if not isinstance(loss, nn.Module):
        content = state_of(loss)
        return lambda: put_state(loss, content)
    buffers = [(buffer, buffer.clone()) for buffer in loss.buffers()]

    def put_back() -> None:
        for buffer, value in buffers:
            buffer.copy_(value)

    return put_back


def steps_follow_each_other(subject: Subject) -> None:
    """Batch after batch gives a value and a gradient: it keeps nothing of an old graph."""
    for kind, loss in for_each_kind(subject):
        with on_input(f"three batches in turn, {kind_label(kind)}"):
            for seed in range(3):
                batch = random_batch(seed=seed)
                backward(loss, batch, all_of(kind, batch.labels))


def no_tuples_give_zero(subject: Subject) -> None:
    """Without tuples the value is zero with a graph, through which backward works."""
    values = []
    for kind, loss in for_each_kind(subject):
        if kind is not None:
            with on_input(f"no {kind.__name__.lower()}"):
                values.append(float(backward(loss, RANDOM, none_of(kind)).detach()))
    if not values:
        raise Skipped("it compares whole batches.")
    if other := [value for value in values if value != 0.0]:
        raise Broken(
            f"gave {other[0]:.3g} without tuples, not 0; a batch without any must teach nothing."
        )


def described_tuples_count_like_listed(subject: Subject) -> None:
    """AllPairs and AllTriplets give the value of the tuples they describe, with anchors, too."""
    kinds = [kind for kind in kinds_of(made(subject)) if kind is not None]
    if not kinds:
        raise Skipped("it compares whole batches.")
    for kind in kinds:
        for anchors in (None, 5):
            described = AllPairs(anchors) if kind is Pairs else AllTriplets(anchors)
            with on_input(f"{described}"):
                loss, inputs = made(subject), inputs_of(RANDOM)
                value = value_of(loss, *inputs, described).detach()
                listed = value_of(made(subject), *inputs, described.listed(RANDOM.labels)).detach()
                if not torch.allclose(value, listed, rtol=1e-4, atol=1e-5):
                    raise Broken(
                        f"gave {float(value):.6g}, and {float(listed):.6g} for the same tuples "
                        "listed; start with tuples = tuples.listed(labels)."
                    )


def unusual_batches_stay_finite(subject: Subject) -> None:
    """Ties, duplicates, zeros and a single class give a finite value and finite gradients."""
    for batch in (TIED, DOUBLED, CROSSED, ORIGIN, LONG, SINGLE_CLASS, APART):
        for kind, loss in for_each_kind(subject):
            with on_input(f"{batch.name}, {kind_label(kind)}", odd=batch.odd):
                backward(loss, batch, all_of(kind, batch.labels))


def not_a_number_shows(subject: Subject) -> None:
    """NaN in an embedding that is compared raises nothing and shows in the value."""
    for batch in not_a_number()[:1] + not_a_number()[2:]:
        for kind, loss in for_each_kind(subject):
            with on_input(f"{batch.name}, {kind_label(kind)}", odd=True):
                value = value_of(loss, *inputs_of(batch), all_of(kind, batch.labels)).detach()
                if bool(value.isfinite()):
                    raise Broken(
                        f"gave {float(value):.3g} as if nothing were wrong; let NaN through: "
                        "no nan_to_num, no comparison that drops it."
                    )
