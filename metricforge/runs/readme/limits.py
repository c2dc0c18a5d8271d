"""Where the results of a model end."""

from __future__ import annotations

from collections.abc import Iterator

from metricforge.markdown import code, text
from metricforge.model_card import PLACE
from metricforge.runs.readme.facts import Facts
from metricforge.scoring.baselines import PRETRAINED
from metricforge.scoring.measure import outdone

FEW_TEST, FEW_VALIDATION = 20, 5


def section(facts: Facts) -> list[str]:
    """What the results do not say."""
    return ["## Limits", "", *(f"- {line}" for line in _lines(facts))]


def _lines(facts: Facts) -> Iterator[str]:
    summary, parts = facts.summary, facts.split.parts
    if summary.results:
        yield from _of_results(facts)
    validating = len(parts.validation.classes)
    if not validating:
        yield "No classes validated: the weights are those of the last epoch."
    elif validating < FEW_VALIDATION and not facts.split.closed_set:
        yield f"Few classes chose the epoch: {validating}."
    if facts.card.pair_thresholds:
        yield (
            "The distances above were chosen on validation classes: other kinds of classes have "
            "other rates."
        )
    if PRETRAINED in summary.results or facts.environment.get("weights"):
        yield (
            "The network started from pretrained weights. The images of that training are not "
            "known here: they may have shown the held-out classes."
        )


def _of_results(facts: Facts) -> Iterator[str]:
    count, trained = len(facts.test_classes), facts.tested_among("train")
    if trained == count:
        yield "Closed set: the metrics say nothing about new classes."
    else:
        yield (
            "The metrics are those of new classes of the same kind. For yours: "
            + code(f"metricforge evaluate {PLACE} --dataset FOLDER")
            + "."
        )
    if count < FEW_TEST:
        yield f"Few classes were tested: {count}. Others may give metrics beyond the intervals."
    select = facts.recipe.select
    yield from map(text, outdone(facts.summary.results, select))
