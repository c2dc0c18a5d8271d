"""When an image is identified: a threshold, chosen on validation classes, keeps strangers out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metricforge.errors import DataError
from metricforge.evaluation import (
    By,
    Cohort,
    Confidence,
    Ints,
    OpenSet,
    Probes,
    Trial,
    allowed_fpir,
    classes_needed,
    draw_trials,
    enrollable,
    least_share,
    probe,
)

USUAL_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""The lowest of these that can be promised is promised by default."""

TRIALS = 20


class Strangers(NamedTuple):
    """Embeddings float32 [M, D] of images of validation classes, and their classes int64 [M].

    And a cohort of training images, if there is one.
    """

    rows: NDArray[np.float32]
    labels: Ints
    cohort: Cohort | None = None

    def calibrated(
        self, sizes: Sequence[int], share: float | None, together: int = 1
    ) -> Calibration:
        """The threshold that they choose: see :func:`calibrate`."""
        return calibrate(self.rows, self.labels, sizes, share, together, self.cohort)


@dataclass(frozen=True)
class Calibration:
    """When an image is identified, and how sure that is.

    Args:
        share: The share of strangers' images that may be identified as somebody, 0 to 1.
        classes: It holds for so many enrolled classes, with up to `images` images each.
        images: See `classes`.
        tried: The most images of a class that were enrolled in the trials.
        by: What an image is compared with: the mean of each class, or the nearest enrolled image.
        normalised: Whether the distance of an image to the cohort is subtracted from that to a
            class.
        threshold: An image is identified if it is nearer than this.
        recognised: The fraction of images of enrolled validation classes that are then identified
            as theirs, in the trials that chose the threshold and the way that recognises most.
        distances: Ascending distances.
        confidences: The probability at each that the nearest class is right, if half of all images
            are strangers'.
        sizes: The images of each enrolled class, ascending, that it was chosen for; none if that is
            not known.
    """

    share: float
    classes: int
    images: int
    tried: int
    by: By
    normalised: bool
    threshold: float
    recognised: float
    distances: tuple[float, ...]
    confidences: tuple[float, ...]
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        ordered = all(a <= b for a, b in itertools.pairwise(self.distances))
        if not 0 < self.share < 1 or not ordered or len(self.distances) != len(self.confidences):
            raise ValueError("share is no fraction, or distances and confidences don't fit")
        least = -math.inf if self.normalised else 0
        if not self.distances or not self.threshold >= least:
            raise ValueError("there are no distances, or the threshold is negative")

    def holds_for(self, sizes: Sequence[int]) -> bool:
        """Whether classes of these sizes are no more, and no larger, than it was chosen for.

        Of more images of a class one is nearer to a stranger, and their mean is. Sizes are compared
        by their quantiles.
        """
        if not self.sizes or len(sizes) > self.classes:
            return False
        count = len(self.sizes)
        return all(
            size <= self.sizes[place * count // len(sizes)]
            for place, size in enumerate(sorted(sizes))
        )

    def confidence(self, distance: float) -> float:
        """The probability that the nearest class is right, if half of all images are strangers'."""
        return float(np.interp(distance, self.distances, self.confidences))


def calibrate(
    embeddings: NDArray[np.float32],
    labels: Ints,
    sizes: Sequence[int],
    share: float | None,
    together: int = 1,
    cohort: Cohort | None = None,
) -> Calibration:
    """Choose a threshold on validation classes, for a gallery of classes of these sizes.

    Args:
        embeddings: float32 [N, D] of the images of validation classes.
        labels: int64 [N].
        sizes: How many images each enrolled class has.
        share: The share of strangers' images that may be identified. Default: the lowest of
            USUAL_SHARES that can be promised.
        together: Images of one thing that will ask together.
        cohort: Training images, whose distances normalise if more are recognised then. Default:
            none do.

    Raises:
        DataError: So few classes can't promise it; the error says how many can, and what these can.
    """
    counts = np.unique(labels, return_counts=True)[1]
    largest = max(sizes)
    promised, enrolled, fpir, shots = _promise(labels, sizes, share, together)
    tried = min(max(shots), int(counts.max()) - together)
    # The nearest of many images is nearer than that of the few that a validation class has.
    by_which: tuple[By, ...] = ("mean", "nearest") if largest < np.median(counts) else ("mean",)
    known = enrollable(labels, enrolled, shots, together)
    trials = draw_trials(labels, enrolled=known, shots=shots, trials=TRIALS, together=together)
    found = []
    for by, normalised, probes in _ways(embeddings, labels, trials, by_which, cohort):
        threshold, recognised = _threshold(probes, fpir)
        sure = Confidence.of(probes)
        found.append(
            Calibration(
                promised,
                enrolled,
                largest,
                tried,
                by,
                normalised,
                threshold,
                recognised,
                sure.distances,
                sure.values,
                tuple(sorted(sizes)),
            )
        )
    return max(found, key=lambda each: each.recognised)


def _ways(
    embeddings: NDArray[np.float32],
    labels: Ints,
    trials: Sequence[Trial],
    by_which: Sequence[By],
    cohort: Cohort | None,
) -> Iterator[tuple[By, bool, Probes]]:
    """The ways to compare, whether each normalises, and what the probes got by it."""
    for by in by_which:
        probes = probe(embeddings, labels, trials, by)
        yield by, False, probes
        if cohort is not None:
            yield by, True, probes.less(embeddings, cohort)


def refuse_too_few(labels: Ints, sizes: Sequence[int], share: float | None) -> None:
    """DataError if :func:`calibrate` would raise it, which no embedding is needed for."""
    _promise(labels, sizes, share, together=1)


def _promise(
    labels: Ints, sizes: Sequence[int], share: float | None, together: int
) -> tuple[float, int, float, Sequence[int]]:
    """A share that can be promised, to how many classes, at which FPIR, and the images of each."""
    counts = np.unique(labels, return_counts=True)[1]
    # Of larger classes than half of these are, as many are tried as half of these can enrol.
    most = max(1, int(np.median(counts)) - together)
    shots = sizes if min(sizes) <= most else [most] * len(sizes)
    shares, count = _shares(share), len(sizes)

    def rate(share: float, enrolled: int) -> float | None:
        known = enrollable(labels, enrolled, shots, together)
        return allowed_fpir(share, int((counts >= together).sum()), enrolled, known)

    possible = [each for each in shares if rate(each, count) is not None]
    if not possible:
        raise _too_few(labels, shots, min(shares), together)
    promised = min(possible)
    fpir = rate(promised, count)
    assert fpir is not None, "it is possible"
    # With room to grow if that costs nothing, so that a class more changes no other answer.
    larger = _rounded_up(count)
    enrolled = larger if rate(promised, larger) == fpir else count
    return promised, enrolled, fpir, shots


def _rounded_up(count: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ..."""
    power: int = 10 ** (len(str(count)) - 1)
    return next(power * step for step in (1, 2, 5, 10) if power * step >= count)


def _shares(share: float | None) -> Sequence[float]:
    if share is None:
        return USUAL_SHARES
    if not 0 < share < 1:
        raise DataError(
            f"a share of {share:.4g} of strangers can't be promised: none would be identified, or "
            "all; give one between 0 and 1, e.g. 0.05."
        )
    return (share,)


def _threshold(probes: Probes, fpir: float) -> tuple[float, float]:
    """The threshold of an FPIR, and its DIR."""
    rates = OpenSet(probes)
    threshold = rates.threshold(fpir)
    if math.isinf(threshold):
        threshold = float(np.nextafter(probes.distances.max(), math.inf))
    return threshold, rates.dir(threshold)


def _too_few(labels: Ints, sizes: Sequence[int], share: float, together: int) -> DataError:
    counts = np.unique(labels, return_counts=True)[1]
    classes, enrolled = int((counts >= together).sum()), len(sizes)
    if enrollable(labels, enrolled, sizes, together) == 0:
        ask = "another that asks" if together == 1 else f"{together} others that ask together"
        return DataError(
            f"of {len(counts)} validation classes too few have an image to enrol and {ask}: "
            "nothing can be promised of strangers; hold out classes of more images"
            + (", or identify fewer images together." if together > 1 else ".")
        )
    least = math.ceil(least_share(classes, enrolled) * 1000) / 1000
    lowest = f"the lowest share for these is {least:.1%}" if least < 1 else "these promise nothing"
    return DataError(
        f"{classes} validation classes are too few to promise that at most {100 * share:.3g}% of "
        f"strangers' images are taken for one of {enrolled} classes: it takes "
        f"{classes_needed(share, enrolled):,} classes, and {lowest}."
    )
