"""The contract of a protocol: named, finite metrics with intervals, the same each time."""

from __future__ import annotations

import dataclasses
import inspect

import torch
from torch import Tensor

from metricforge.contracts import Labelled, Result, Validation
from metricforge.testing.checks import Broken, checks, on_input
from metricforge.testing.growth import Usage, growth_note, measured
from metricforge.testing.protocol.estimate_checks import check_result
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.sampler.train_sets import unit_rows
from metricforge.testing.subject import Subject

CLASSES, EACH, DIM = 20, 12, 16


def images(classes: int = CLASSES, each: int = EACH, grouped: bool = True) -> Labelled:
    """Labels of `classes` classes with `each` images, shuffled; four classes a group."""
    labels = torch.arange(classes).repeat_interleave(each)
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(4))]
    names = tuple(f"class {number}" for number in range(classes))
    return Labelled(labels, names, labels // 4 if grouped else None)


def clusters(shown: Labelled, noise: float = 0.3) -> Tensor:
    """Embeddings float32 [N, 16] round a centre for each class."""
    centres = unit_rows(len(shown.classes), seed=21, dim=DIM)
    return centres[shown.labels] + noise * unit_rows(len(shown.labels), seed=22, dim=DIM)


def builds(subject: Subject) -> None:
    """It is built from its options, and has `evaluate`."""
    protocol = subject.build()
    if not callable(getattr(protocol, "evaluate", None)):
        raise Broken("has no evaluate(embeddings, images); give that method.")


def estimates_are_numbers_with_intervals(subject: Subject) -> None:
    """Each estimate is finite with low <= value <= high, over n > 0 of something named."""
    shown = images()
    for what, rows in (("clusters", clusters(shown)), ("noise", unit_rows(len(shown.labels), 1))):
        with on_input(what):
            check_result(_evaluated(subject, rows, shown))


def estimates_are_defined(subject: Subject) -> None:
    """Each estimate has a definition, and the notes are sentences."""
    shown = images()
    result = _evaluated(subject, clusters(shown), shown)
    for name in result.estimates:
        if not isinstance(name, str) or not isinstance(result.definitions.get(name), str):
            raise Broken(f"defines no {name!r}; say in Result.definitions what the number is.")
    if isinstance(result.notes, str) or not all(isinstance(note, str) for note in result.notes):
        raise Broken(f"has the notes {result.notes!r}; give a tuple of sentences.")


def same_input_same_result(subject: Subject) -> None:
    """The same embeddings give the same result, in a fresh one and under any global seeds."""
    shown = images()
    rows = clusters(shown, noise=1.0)
    used = subject.build()
    results = []
    for seed, protocol in ((1, used), (2, used), (3, subject.build())):
        set_globals(seed)
        results.append(protocol.evaluate(rows.clone(), shown))
    if not results[0] == results[1] == results[2]:
        raise Broken("gave another result for the same input; draw from a seed that is an option.")


def global_generators_stay(subject: Subject) -> None:
    """Building it and evaluating leave the generators of python, numpy and torch alone."""
    shown = images()
    with untouched("building"):
        protocol = subject.build()
    with untouched("evaluate"):
        protocol.evaluate(clusters(shown), shown)


def input_stays(subject: Subject) -> None:
    """It leaves embeddings, labels and groups as they are."""
    shown, original = images(), images()
    rows = clusters(shown)
    subject.build().evaluate(rows, shown)
    same = rows.equal(clusters(original)) and shown.labels.equal(original.labels)
    if not same or not _groups(shown).equal(_groups(original)):
        raise Broken("changed its input in place; work on a copy.")


def tells_classes_from_noise(subject: Subject) -> str | None:
    """Separate clusters and noise don't get the same numbers."""
    shown = images()
    good = _evaluated(subject, clusters(shown, noise=0.01), shown)
    bad = _evaluated(subject, unit_rows(len(shown.labels), seed=1, dim=DIM), shown)
    if _values(good) == _values(bad):
        return "separate clusters and pure noise get the same numbers: it measures nothing here."
    return None


def collapsed_embeddings_stay_finite(subject: Subject) -> None:
    """Embeddings that are all the same, or zero in places, give finite numbers."""
    shown = images()
    some = clusters(shown)
    some[::7] = 0
    for what, rows in (
        ("embeddings that are all the same", torch.ones(len(some), DIM) / 4),
        ("embeddings that are all zero", torch.zeros(len(some), DIM)),
        ("some rows of zeros", some),
    ):
        with on_input(what):
            check_result(_evaluated(subject, rows, shown))


def small_sets_are_measured_or_refused(subject: Subject) -> None:
    """One class, classes of one image and few images give finite numbers or a clear refusal."""
    for what, shown in (
        ("a single class", images(1, 12)),
        ("classes of one image", images(12, 1)),
        ("two classes of two images", images(2, 2)),
        ("one image", images(1, 1)),
        ("no image at all", images(1, 0)),
    ):
        with on_input(what, odd=True):
            check_result(_evaluated(subject, clusters(shown), shown))


def groups_are_optional(subject: Subject) -> None:
    """Images without groups are measured, too."""
    shown = images(grouped=False)
    with on_input("images without groups"):
        check_result(_evaluated(subject, clusters(shown), shown))


def validation_is_optional(subject: Subject) -> None:
    """One that takes a validation part measures with it and without, and leaves it as it is."""
    shown, held_out = images(), images(6, 5)
    if "validation" not in inspect.signature(subject.build().evaluate).parameters:
        return
    rows, embeddings = clusters(shown), clusters(held_out)
    for validation in (None, Validation(embeddings.clone(), held_out)):
        with on_input("no validation part" if validation is None else "a validation part"):
            check_result(subject.build().evaluate(rows.clone(), shown, validation=validation))
        if validation is not None and not validation.embeddings.equal(embeddings):
            raise Broken("changed the validation part in place; work on a copy.")


def queries_and_gallery_are_measured(subject: Subject) -> None:
    """Images of which some are queries and others the gallery are measured, too."""
    shown = images()
    asks = torch.arange(len(shown.labels)) % 3 == 0
    apart = dataclasses.replace(shown, queries=asks, gallery=~asks)
    with on_input("queries and a gallery"):
        check_result(_evaluated(subject, clusters(apart), apart))


def growth(subject: Subject) -> str:
    """How the time and memory of an evaluation grow with the images."""
    usages: list[Usage] = []
    for each in (12, 48):
        shown = images(each=each)
        rows = clusters(shown)
        usages.append(
            measured(len(rows), lambda r=rows, s=shown: subject.build().evaluate(r, s))  # type: ignore[misc]
        )
    return growth_note(usages, "N")


def _evaluated(subject: Subject, rows: Tensor, shown: Labelled) -> Result:
    result = subject.build().evaluate(rows, shown)
    if not isinstance(result, Result):
        raise Broken(f"gave a {type(result).__name__}; return a metricforge.contracts.Result.")
    return result


def _values(result: Result) -> dict[str, float]:
    return {name: estimate.value for name, estimate in result.estimates.items()}


def _groups(shown: Labelled) -> Tensor:
    return torch.zeros(0) if shown.groups is None else shown.groups


PROTOCOL_CHECKS = checks(
    builds,
    estimates_are_numbers_with_intervals,
    estimates_are_defined,
    same_input_same_result,
    global_generators_stay,
    input_stays,
    tells_classes_from_noise,
    collapsed_embeddings_stay_finite,
    small_sets_are_measured_or_refused,
    groups_are_optional,
    validation_is_optional,
    queries_and_gallery_are_measured,
    growth,
    first=2,
)
