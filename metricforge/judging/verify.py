"""Whether two images are of one class, by a threshold that is saved with the model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricforge.data.model_inputs import OneImage
from metricforge.errors import UsageError
from metricforge.judging.subject import Subject, load_model
from metricforge.model_card import Card, PairThreshold
from metricforge.registry import Registry

ROUNDING = 1e-9

USUAL = 0.01


@dataclass(frozen=True)
class Verdict:
    """Whether two images are of one class.

    Args:
        same: Whether `distance` is at most `threshold`.
        distance: The euclidean distance of their embeddings.
        threshold: Up to which distance two images are taken for one class.
        chosen: How often that is right on the model's validation classes; None for a threshold of
            one's own.
    """

    same: bool
    distance: float
    threshold: float
    chosen: PairThreshold | None


def verify(
    subject: Subject,
    first: OneImage,
    second: OneImage,
    *,
    false_alarms: float | None = None,
    threshold: float | None = None,
    device: str = "auto",
    registry: Registry | None = None,
) -> Verdict:
    """Whether two images are of one class, which the model need not know.

    Args:
        subject: A run, its folder, or a model.
        first: A file, a PIL image, or an array as `encode` takes them in a list; of a model of
            vectors one vector [V].
        second: Another.
        false_alarms: At most this fraction of the pairs of two validation classes is accepted: one
            of those that the model has thresholds for. Default: 0.01, or the lowest.
        threshold: Up to which distance a pair is accepted, in place of `false_alarms`.
        device: "auto", "cpu", "cuda" or "mps".
        registry: Registry of components. Default: what is installed.

    Raises:
        UsageError: The model has no threshold for that.
        DataError: An image can't be read.
    """
    model = load_model(subject, device, registry or Registry.installed())
    choose(model.card, false_alarms, threshold)
    two = [first, second]
    return verdict(
        model.card,
        model.encode(np.asarray(two) if model.card.of_vectors else two),
        false_alarms,
        threshold,
    )


def verdict(
    card: Card, rows: NDArray[np.float32], false_alarms: float | None, threshold: float | None
) -> Verdict:
    """The verdict on two embeddings [2, D]: see :func:`verify`."""
    chosen = choose(card, false_alarms, threshold)
    limit = chosen if isinstance(chosen, float) else chosen.distance
    distance = float(np.linalg.norm(rows[0].astype(np.float64) - rows[1]))
    known = None if isinstance(chosen, float) else chosen
    # A threshold is the distance of a pair, added in another order.
    return Verdict(distance <= limit * (1 + ROUNDING), distance, limit, known)


def choose(
    card: Card, false_alarms: float | None, threshold: float | None
) -> PairThreshold | float:
    """The threshold of a model, or one's own; UsageError if it has none for that fraction."""
    if threshold is not None:
        if false_alarms is not None:
            raise UsageError(
                "a threshold of one's own has no known false alarms: give one of the two."
            )
        if not 0 <= threshold < math.inf:
            raise UsageError(f"a threshold is a distance of 0 or more, not {threshold}.")
        return float(threshold)
    known = {each.far: each for each in card.pair_thresholds}
    if not known:
        raise UsageError(
            "the model has no thresholds, which classes choose that validated its training: name a "
            "distance of your own as the threshold."
        )
    far = max(min(known), USUAL) if false_alarms is None else false_alarms
    if far not in known:
        raise UsageError(
            f"the model has thresholds for {', '.join(f'{each:.3g}' for each in known)} false "
            f"alarms, and none for {far:.3g}: choose one of these, or a threshold of your own."
        )
    return known[far]
