"""The contract of a miner: true tuples of its kind from any batch, a function of its input."""

from __future__ import annotations

import torch
from torch import Tensor

from metricforge.contracts import LeavingChoice, Pairs, Stateful, Triplets, Tuples
from metricforge.errors import MetricForgeError
from metricforge.runtime import generator
from metricforge.testing.batches import (
    RANDOM,
    TINY,
    UNUSUAL,
    large,
    not_a_number,
    random_batch,
)
from metricforge.testing.checkpoints import put_state, state_of
from metricforge.testing.checks import Broken, Skipped, checks, raised
from metricforge.testing.growth import growth_note, measured
from metricforge.testing.miner.fixture import made, mined
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject
from metricforge.testing.tuples import alike, check_labels_agree, check_no_self
from metricforge.training.mining import mine, takes

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def builds(subject: Subject) -> None:
    """It is built from a margin and its options."""
    made(subject)


def says_its_kind(subject: Subject) -> None:
    """Its `kind` is Pairs, Triplets or None."""
    miner = made(subject)
    kind = getattr(miner, "kind", "nothing")
    if kind not in (Pairs, Triplets, None):
        raise Broken(f"says the kind {kind!r}; say kind = Pairs, Triplets or None.")
    if not callable(miner):
        raise Broken("can't be called; give it __call__(embeddings, labels).")


def tuples_are_of_its_kind(subject: Subject) -> None:
    """Tuples are 1-D int64 places in the batch, of its kind and of one length, from any batch."""
    for batch in (RANDOM, *UNUSUAL):
        with batch.as_input():
            mined(made(subject), batch)


def takes_tiny_batches(subject: Subject) -> None:
    """Batches of two images, of one and of none have few tuples or none, and raise nothing."""
    for batch in TINY:
        with batch.as_input():
            tuples = mined(made(subject), batch)
            check_labels_agree(tuples, batch.labels)


def labels_agree(subject: Subject) -> None:
    """`same` is true where two labels agree; a positive is of the anchor's class."""
    for batch in (RANDOM, *UNUSUAL):
        with batch.as_input():
            check_labels_agree(mined(made(subject), batch), batch.labels)


def no_self_pairs(subject: Subject) -> None:
    """No image is paired with itself, however alike the embeddings are."""
    for batch in (RANDOM, *UNUSUAL):
        with batch.as_input():
            tuples = mined(made(subject), batch)
            check_no_self(tuples, batch.labels, torch.arange(len(batch.labels)))


def takes_not_a_number(subject: Subject) -> None:
    """NaN and infinite embeddings raise nothing and give no place outside the batch."""
    for batch in not_a_number():
        try:
            mined(made(subject), batch)
        except Broken as error:
            raise Broken(f"given {batch.name}, it {error}") from error
        except Exception as error:
            raise Broken(
                f"given {batch.name}, it {raised(error)}; the core reports NaN, a miner need not."
            ) from error


def input_stays(subject: Subject) -> None:
    """It leaves embeddings and labels as they are."""
    for batch in (RANDOM, *UNUSUAL):
        with batch.as_input():
            rows, labels = batch.embeddings.clone(), batch.labels.clone()
            with torch.no_grad():
                mine(made(subject), rows, labels, generator(0, 0, 0))
            if not rows.equal(batch.embeddings):
                raise Broken("changed the embeddings in place; work on a copy.")
            if not labels.equal(batch.labels):
                raise Broken("changed the labels in place; work on a copy.")


def same_input_same_tuples(subject: Subject) -> None:
    """Tuples are a function of the batch, and of `rng` in a miner that takes it."""
    for batch in (RANDOM, large(64)):
        with batch.as_input():
            used = made(subject)
            set_globals(1)
            first = mined(used, batch)
            set_globals(2)
            # A stateful miner may differ; resumes_exactly checks it.
            again = first if isinstance(used, Stateful) else mined(used, batch)
            if not alike(first, again) or not alike(first, mined(made(subject), batch)):
                raise Broken(
                    "gave other tuples for the same batch; draw from a parameter `rng` only, "
                    "and keep what lasts from call to call in state_dict."
                )


def resumes_exactly(subject: Subject) -> None:
    """Built anew and given its saved state, it mines what it would have."""
    straight, resumed = made(subject), made(subject)
    for seed in range(3):
        mined(straight, random_batch(seed=seed), seed)
    put_state(resumed, state_of(straight))
    if not alike(mined(straight, RANDOM), mined(resumed, RANDOM)):
        raise Broken(
            "mined other tuples after it was built anew from its state; keep all that it depends "
            "on in state_dict and load_state_dict."
        )


def another_rng_other_tuples(subject: Subject) -> str | None:
    """In a miner that takes `rng`, another one gives other tuples."""
    miner = made(subject)
    if not takes(miner, "rng"):
        raise Skipped("it takes no rng.")
    batch = large(64)
    first = mined(miner, batch)
    if all(alike(first, mined(miner, batch, seed)) for seed in range(1, 5)):
        return "it takes rng, and five of them gave the same tuples for 64 random embeddings."
    return None


def mines_for_other_losses(subject: Subject) -> None:
    """`left_to` gives None for a loss that it can't know."""
    miner = made(subject)
    if not isinstance(miner, LeavingChoice):
        raise Skipped("it leaves its choice to no loss.")
    if miner.left_to(unknown_loss) is not None:
        raise Broken(
            "left its choice to a loss that it can't know; give None but for one that makes it."
        )


def unknown_loss(embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Tensor:
    """A loss that no miner knows."""
    return embeddings.sum() * 0


def global_generators_stay(subject: Subject) -> None:
    """Building it and mining leave the generators of python, numpy and torch alone."""
    with untouched("building"):
        made(subject)
    for batch in (RANDOM, large(64)):
        with batch.as_input():
            miner = made(subject)
            with untouched("mining"):
                mined(miner, batch)


def takes_every_precision(subject: Subject) -> None:
    """It mines float32, float64 and bfloat16 embeddings."""
    for dtype in DTYPES:
        batch = RANDOM.to(dtype)
        with batch.as_input():
            mined(made(subject), batch)


def stays_on_the_device(subject: Subject) -> None:
    """On a GPU its tuples are there too."""
    if not torch.cuda.is_available():
        raise Skipped("this machine has no CUDA device.")
    batch = RANDOM.to("cuda")
    with batch.as_input():
        mined(made(subject), batch)


def growth(subject: Subject) -> str:
    """How the memory and time of mining grow with the batch."""
    miner = made(subject)
    batches = {count: large(count) for count in (128, 256)}
    try:
        usages = [measured(n, lambda b=b: mined(miner, b)) for n, b in batches.items()]  # type: ignore[misc]
    except MetricForgeError as error:
        raise Skipped(f"it refuses large batches: {error}") from error
    return growth_note(usages, "B")


MINER_CHECKS = checks(
    builds,
    says_its_kind,
    tuples_are_of_its_kind,
    labels_agree,
    no_self_pairs,
    takes_tiny_batches,
    takes_not_a_number,
    input_stays,
    same_input_same_tuples,
    resumes_exactly,
    another_rng_other_tuples,
    mines_for_other_losses,
    global_generators_stay,
    takes_every_precision,
    stays_on_the_device,
    growth,
    first=3,
)
