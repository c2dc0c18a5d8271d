"""The distances up to which two images are taken for one class, by validation classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation import (
    Ints,
    Ranked,
    distances_of,
    draw_pairs,
    interval_of,
    resampled,
)
from metricforge.model_card import PairThreshold

RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
MOST_PAIRS = 100_000
FEWEST_FALSE = 10
"""A rate that fewer pairs of two classes decide is left out."""


def pair_thresholds(rows: NDArray[np.float32], labels: Ints) -> Iterator[PairThreshold]:
    """The thresholds of validation images, for every one of RATES that they have pairs enough for.

    Args:
        rows: Embeddings float32 [M, D].
        labels: int64 [M].

    Raises:
        DivergedError: An embedding is NaN or infinite.
    """
    pairs = draw_pairs(labels, MOST_PAIRS)
    if not pairs.same.any() or pairs.same.all():
        return
    ranked = Ranked(distances_of(rows, pairs), pairs)
    roc = ranked.roc()
    samples, _, units = resampled(ranked, pairs, labels)
    for rate in RATES:
        distance = roc.distance_at(rate)
        if distance is None or rate * (~pairs.same).sum() < FEWEST_FALSE:
            continue
        ends = interval_of(np.array([each.within(distance)[1] for each in samples]), units)
        low, high = np.clip(ends, 0, 1).tolist()
        yield PairThreshold(rate, distance, roc.within(distance)[0], low, high)
