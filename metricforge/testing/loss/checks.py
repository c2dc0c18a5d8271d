"""The contract of a loss: a finite scalar with a true gradient, whatever the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from metricforge.contracts import Counting, Pairs
from metricforge.enforcement import check_active, check_counted
from metricforge.testing.batches import (
    CLASSES,
    DIM,
    RANDOM,
    random_batch,
)
from metricforge.testing.checkpoints import put_state, state_of
from metricforge.testing.checks import Broken, Skipped, checks, obey, on_input
from metricforge.testing.growth import Usage, growth_note, measured
from metricforge.testing.loss.fixture import (
    KINDS,
    backward,
    check_finite,
    for_each_kind,
    inputs_of,
    kind_label,
    kinds_of,
    made,
    value_of,
)
from metricforge.testing.loss.gradient_checks import (
    described_tuples_count_like_listed,
    gradient_is_the_derivative,
    gradient_reaches_what_learns,
    no_tuples_give_zero,
    not_a_number_shows,
    steps_follow_each_other,
    unusual_batches_stay_finite,
)
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject
from metricforge.testing.tuples import all_of
from metricforge.training.mining import margin_of

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def builds(subject: Subject) -> None:
    """It is built from the dimension, the number of classes and its options."""
    made(subject)


def says_what_it_accepts(subject: Subject) -> None:
    """`accepts` is absent or lists tuple kinds; `margin` is absent, None or a number."""
    loss = made(subject)
    accepts = getattr(loss, "accepts", None)
    listed = isinstance(accepts, tuple | list | frozenset | set)
    if accepts is not None and (not listed or not accepts or not set(accepts) <= set(KINDS)):
        raise Broken(f"accepts {accepts!r}; give a tuple of Pairs, Triplets and None.")
    margin = margin_of(loss)
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, int | float)):
        raise Broken(f"has the margin {margin!r}; give a float, which a miner may ask for.")
    if not callable(loss):
        raise Broken("can't be called; give it __call__(embeddings, labels, tuples).")


def gives_a_scalar_with_a_graph(subject: Subject) -> None:
    """Its value is a finite scalar with a graph, for every kind of tuples that it accepts."""
    for kind, loss in for_each_kind(subject):
        with on_input(f"{RANDOM.name}, {kind_label(kind)}"):
            check_finite(value_of(loss, *inputs_of(RANDOM), all_of(kind, RANDOM.labels)))


def counted_gives_the_value(subject: Subject) -> None:
    """`counted`, if it has it, gives what the call gives, and a count of at most all tuples."""
    if not isinstance(made(subject), Counting):
        raise Skipped("it counts no active tuples.")
    for kind, loss in for_each_kind(subject):
        with on_input(f"{RANDOM.name}, {kind_label(kind)}"):
            tuples = all_of(kind, RANDOM.labels)
            value = value_of(loss, *inputs_of(RANDOM), tuples).detach()
            again = made(subject)
            torch.manual_seed(1)
            counted = again.counted(*inputs_of(RANDOM), tuples)
            obey(check_counted, again, counted)
            most = None if tuples is None else len(tuples.listed(RANDOM.labels)[0])
            obey(check_active, again, float(counted.active), most)
            if not torch.allclose(counted.value.detach(), value, rtol=1e-6):
                raise Broken(
                    f"counted {float(counted.value.detach()):.9g} and gave {float(value):.9g}; let "
                    "the call return counted(...).value."
                )


def takes_every_precision(subject: Subject) -> None:
    """float32, float64 and bfloat16 embeddings give a finite floating value on their device."""
    targets: list[Any] = [*DTYPES, *(["cuda"] if torch.cuda.is_available() else [])]
    for target in targets:
        for kind, loss in for_each_kind(subject):
            batch = RANDOM.to(target)
            with on_input(f"{batch.name}, {kind_label(kind)}"):
                loss = loss.to(target) if isinstance(loss, nn.Module) else loss
                value = backward(loss, batch, all_of(kind, batch.labels))
                if not value.is_floating_point() or value.device != batch.embeddings.device:
                    raise Broken(
                        f"gave a {value.dtype} on {value.device} for embeddings on "
                        f"{batch.embeddings.device}; make tensors like the embeddings."
                    )


def input_stays(subject: Subject) -> None:
    """It leaves embeddings, labels and tuples as they are."""
    for kind, loss in for_each_kind(subject):
        with on_input(f"{RANDOM.name}, {kind_label(kind)}"):
            rows, labels = inputs_of(RANDOM)
            tuples = all_of(kind, labels)
            value_of(loss, rows, labels, tuples)
            originals = all_of(kind, RANDOM.labels)
            changed = tuples is not None and not all(
                a.equal(b)
                for a, b in zip(tuples, originals, strict=True)  # type: ignore[arg-type]
            )
            if changed or not rows.equal(RANDOM.embeddings) or not labels.equal(RANDOM.labels):
                raise Broken("changed its input in place; work on a copy.")


def same_input_same_value(subject: Subject) -> None:
    """The value of a fresh loss is a function of the batch, the weights and torch's seed."""
    for kind in kinds_of(made(subject)):
        with on_input(f"{RANDOM.name}, {kind_label(kind)}"):
            values = []
            for seed in (1, 2):
                loss = made(subject)
                set_globals(seed)
                tuples = all_of(kind, RANDOM.labels)
                values.append(value_of(loss, *inputs_of(RANDOM), tuples).detach())
            if not values[0].equal(values[1]):
                raise Broken(
                    f"gave {float(values[0]):.9g} and then {float(values[1]):.9g} for the same "
                    "batch; draw from torch's generator alone."
                )


def global_generators_stay(subject: Subject) -> None:
    """It leaves the generators of python and numpy alone, in building and in use."""
    with untouched("building", torch_too=False):
        loss = subject.build(dim=DIM, num_classes=CLASSES)
    for kind in kinds_of(loss):
        with (
            on_input(f"{RANDOM.name}, {kind_label(kind)}"),
            untouched("the loss", torch_too=False),
        ):
            value_of(loss, *inputs_of(RANDOM), all_of(kind, RANDOM.labels))


def saves_and_loads(subject: Subject) -> None:
    """Built anew with other weights and given its saved state, it gives the same value."""
    for kind, loss in for_each_kind(subject):
        with on_input(f"{RANDOM.name}, {kind_label(kind)}"):
            tuples = all_of(kind, RANDOM.labels)
            value_of(loss, *inputs_of(RANDOM), tuples)
            fresh = made(subject, seed=9)
            put_state(fresh, state_of(loss))
            values = []
            for each in (loss, fresh):
                set_globals(0)
                values.append(value_of(each, *inputs_of(RANDOM), tuples).detach())
            if not torch.allclose(values[0], values[1], rtol=1e-6):
                raise Broken(
                    f"gave {float(values[1]):.9g} after loading its state, and "
                    f"{float(values[0]):.9g} where it went on; keep all it depends on as "
                    "parameters and buffers, or have state_dict and load_state_dict."
                )


def growth(subject: Subject) -> str:
    """How the memory and time of a value and its gradient grow with the batch."""
    loss = made(subject)
    kind = Pairs if Pairs in kinds_of(loss) else next(iter(kinds_of(loss)))
    usages: list[Usage] = []
    for count in (64, 128):
        batch = random_batch(count)
        tuples = all_of(kind, batch.labels)
        usages.append(measured(count, lambda b=batch, t=tuples: backward(loss, b, t)))  # type: ignore[misc]
    return f"{kind_label(kind)}: {growth_note(usages, 'B')}"


LOSS_CHECKS = checks(
    builds,
    says_what_it_accepts,
    gives_a_scalar_with_a_graph,
    counted_gives_the_value,
    gradient_reaches_what_learns,
    gradient_is_the_derivative,
    steps_follow_each_other,
    no_tuples_give_zero,
    described_tuples_count_like_listed,
    unusual_batches_stay_finite,
    not_a_number_shows,
    takes_every_precision,
    input_stays,
    same_input_same_value,
    global_generators_stay,
    saves_and_loads,
    growth,
    first=3,
)
