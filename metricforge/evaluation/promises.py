"""Thresholds that keep strangers out: how many may pass is promised by validation classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metricforge.evaluation.centring import Floats
from metricforge.evaluation.identification import ROUNDING, By, OpenSet, draw_trials, probe
from metricforge.evaluation.neighbor_search import Ints


def promised_thresholds(
    embeddings: Floats,
    labels: Ints,
    shares: Sequence[float],
    *,
    enrolled: int,
    shots: int | Sequence[int],
    by: By = "mean",
    trials: int = 10,
    seed: int = 0,
) -> dict[float, float]:
    """The highest thresholds that a stranger's image passes with at most these probabilities.

    The classes are validation classes. The probability is over classes as well as images: of a
    stranger whose class is drawn as they were, and of as many enrolled classes. Of n classes and
    the new one each may be the one that passes most often, so the n may pass share * (n + 1) - 1
    times among them. If more classes will be enrolled than can be tried, a stranger passes at most
    as often as all groups of so many would let it together.

    Args:
        embeddings: [N, D].
        labels: int64 [N].
        shares: Probabilities, above 0 and below 1.
        enrolled: Classes that will be enrolled.
        shots: Images of each, or several numbers, as in :func:`draw_trials`.
        by: What an image is compared with.
        trials: Trials, or more until every class was a stranger once.
        seed: Seed of the draws.

    Returns:
        The threshold of each share that so many classes can promise: see :func:`least_share`.

    Raises:
        DivergedError: An embedding is NaN or infinite.

    Reference: Dunn, Wasserman & Ramdas, Distribution-Free Prediction Sets for Two-Layer
        Hierarchical Models, 2022.
    """
    classes, known = len(np.unique(labels)), enrollable(labels, enrolled, shots)
    rates = {share: allowed_fpir(share, classes, enrolled, known) for share in shares}
    possible = {share: rate for share, rate in rates.items() if rate is not None}
    if not possible:
        return {}
    drawn = draw_trials(labels, enrolled=known, shots=shots, trials=trials, seed=seed)
    whole = OpenSet(probe(embeddings, labels, drawn, by))
    return {share: whole.threshold(rate) for share, rate in possible.items()}


def enrollable(labels: Ints, enrolled: int, shots: int | Sequence[int], together: int = 1) -> int:
    """How many of `enrolled` classes can be enrolled in trials with these labels."""
    counts = np.unique(labels, return_counts=True)[1]
    large, asking = int((counts >= np.min(shots) + together).sum()), int((counts >= together).sum())
    return max(0, min(enrolled, large, asking - 1))


def allowed_fpir(share: float, classes: int, enrolled: int, known: int) -> float | None:
    """The FPIR that a threshold may have in trials, to promise a share of strangers at most.

    Args:
        share: 0 to 1.
        classes: Classes of the trials.
        enrolled: Classes that will be enrolled.
        known: Classes that each trial enrols, at most so many.

    Returns:
        0 to 1; None if so few classes can't promise it.
    """
    if known == 0:
        return None
    left = share / math.ceil(enrolled / known) * (classes + 1) - 1
    return None if left < -ROUNDING else max(left, 0.0) / classes


def least_share(classes: int, enrolled: int) -> float:
    """The lowest share of strangers taken for somebody that so many classes can promise.

    1 if they are too few for any.
    """
    if classes < 2:
        return 1.0
    return min(1.0, math.ceil(enrolled / min(enrolled, classes - 1)) / (classes + 1))


def classes_needed(share: float, enrolled: int) -> int:
    """The fewest classes that can promise a share."""
    classes = max(2, math.ceil(1 / share - ROUNDING) - 1)
    while least_share(classes, enrolled) > share + ROUNDING:
        classes += 1
    return classes
