"""The contract of a sampler: whole epochs, from its rng alone, with true tuples."""

from __future__ import annotations

from metricforge.contracts import Pairs, SuggestingLoss, Triplets
from metricforge.enforcement import check_fit, check_miner, sentences
from metricforge.errors import MetricForgeError
from metricforge.spec import Spec
from metricforge.testing.checks import Broken, Skipped, checks, obey
from metricforge.testing.growth import Usage, growth_note, measured
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.sampler.fixture import (
    all_mined,
    check_complete,
    drawn,
    made,
    mined,
    same_batches,
)
from metricforge.testing.sampler.memory_checks import MEMORY_CHECKS
from metricforge.testing.sampler.resume_checks import (
    miners_resume,
    refresh_keeps_epochs_whole,
    resumes_exactly,
)
from metricforge.testing.sampler.train_sets import BALANCED, EVERY, ORDINARY, many
from metricforge.testing.subject import Subject
from metricforge.testing.tuples import check_labels_agree, check_no_self


def builds(subject: Subject) -> None:
    """It is built from labels and its options, whatever the sizes of the classes."""
    for case in EVERY:
        with case.as_input():
            made(subject, case)


def has_epoch_miner_and_notes(subject: Subject) -> None:
    """It has `epoch`, a `miner` that says its kind, and notes that are sentences."""
    sampler = made(subject, BALANCED)
    if not callable(getattr(sampler, "epoch", None)):
        raise Broken("has no epoch(rng); give a method that yields batches of indices.")
    miner = getattr(sampler, "miner", None)
    obey(check_miner, sampler, miner)
    if miner.kind not in (Pairs, Triplets, None):  # type: ignore[union-attr]
        raise Broken(f"brings a miner of the kind {miner.kind!r}; say Pairs, Triplets or None.")  # type: ignore[union-attr]
    obey(sentences, sampler)


def batches_are_indices(subject: Subject) -> None:
    """Its batches are non-empty 1-D int64 tensors of indices into the train set."""
    for case in EVERY:
        with case.as_input():
            sampler = made(subject, case)
            drawn(sampler, case)


def every_image_is_shown(subject: Subject) -> None:
    """An epoch shows every image of the train set."""
    for case in (*EVERY, many(20_000)):
        with case.as_input():
            sampler = made(subject, case)
            for epoch in range(2):
                check_complete(drawn(sampler, case, epoch), case)


def same_rng_same_batches(subject: Subject) -> None:
    """The batches of a fresh sampler are a function of the train set and the rng alone."""
    for case in ORDINARY:
        with case.as_input():
            epochs = []
            for seed in (1, 2):
                set_globals(seed)
                epochs.append(drawn(made(subject, case), case))
            if not same_batches(*epochs):
                raise Broken(
                    "gave other batches for the same rng; draw from the rng of epoch(rng) only, "
                    "and iterate over no set."
                )


def another_rng_another_order(subject: Subject) -> str | None:
    """Another rng gives other batches."""
    sampler = made(subject, BALANCED)
    if same_batches(drawn(sampler, BALANCED, seed=1), drawn(sampler, BALANCED, seed=2)):
        return "two different rngs gave the same batches: every epoch will show the same order."
    return None


def global_generators_stay(subject: Subject) -> None:
    """Building it and drawing an epoch leave the generators of python, numpy and torch alone."""
    for case in ORDINARY:
        with case.as_input():
            with untouched("building"):
                sampler = made(subject, case)
            with untouched("epoch"):
                batches = drawn(sampler, case)
            with untouched("its miner"):
                for step, batch in enumerate(batches[:3]):
                    mined(sampler, case, batch, step)


def labels_stay(subject: Subject) -> None:
    """It leaves the labels and groups that it is given as they are."""
    for case in ORDINARY:
        with case.as_input():
            labels, groups = case.labels.clone(), case.groups.clone()
            drawn(subject.build(labels=labels, groups=groups), case)
            if not labels.equal(case.labels) or not groups.equal(case.groups):
                raise Broken("changed the labels or groups in place; work on a copy.")


def its_miner_gives_true_tuples(subject: Subject) -> None:
    """Its miner names, for each of its batches, tuples whose labels are as they claim."""
    for case in EVERY:
        with case.as_input():
            for batch, tuples in all_mined(made(subject, case), case):
                check_labels_agree(tuples, case.labels[batch])


def never_pairs_an_image_with_itself(subject: Subject) -> None:
    """No pair and no positive is the anchor's own image, even where a batch holds it twice."""
    for case in EVERY:
        with case.as_input():
            for batch, tuples in all_mined(made(subject, case), case):
                check_no_self(tuples, case.labels[batch], batch)


def default_loss_fits(subject: Subject) -> None:
    """`default_loss` is the spec of an installed loss that takes what the miner gives."""
    sampler = made(subject, BALANCED)
    text = sampler.default_loss if isinstance(sampler, SuggestingLoss) else None
    if text is None:
        raise Skipped("it names no default_loss.")
    classes = len(BALANCED.labels.unique())
    offers = {"dim": 16, "num_classes": classes}
    try:
        loss = subject.registry.build("loss", Spec.parse(text), offers)
        check_fit(sampler.miner, loss, lambda: "those that accept its kind")
    except MetricForgeError as error:
        raise Broken(f"names the default_loss {text!r}, which does not do: {error}") from error


def growth(subject: Subject) -> str:
    """How time and memory of building and of an epoch grow with the train set."""
    usages: list[Usage] = []
    for images in (2_000, 20_000):
        case = many(images)
        usages.append(measured(images, lambda case=case: drawn(made(subject, case), case)))  # type: ignore[misc]
    last = usages[-1]
    return f"{growth_note(usages, 'N')}; {last.seconds / last.size * 1e6:.2f} us an image"


SAMPLER_CHECKS = checks(
    builds,
    has_epoch_miner_and_notes,
    batches_are_indices,
    every_image_is_shown,
    same_rng_same_batches,
    another_rng_another_order,
    global_generators_stay,
    labels_stay,
    resumes_exactly,
    miners_resume,
    its_miner_gives_true_tuples,
    never_pairs_an_image_with_itself,
    refresh_keeps_epochs_whole,
    *MEMORY_CHECKS,
    default_loss_fits,
    growth,
    first=3,
)
