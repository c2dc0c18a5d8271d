"""Verification: are two images of one class, by the distance of their embeddings?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from metricforge.contracts import Labelled, Result, Validation
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import (
    ImagePairs,
    Ranked,
    Roc,
    distances_of,
    draw_pairs,
    over_resamples,
    resampled,
    warnings_about,
)

# A rate measured on fewer pairs than this is unreliable.
FEWEST_FALSE = 10

Measure = tuple[Callable[[Roc], float], str]
"""A metric of a ROC, and its definition."""


class Verification:
    """Are two images of one class? ROC AUC, EER, and TAR at given FARs, over pairs of images.

    A pair is accepted when its embeddings are near enough. TAR is the fraction of pairs of one
    class that are accepted, FAR that of pairs of two classes. Intervals are by a bootstrap over
    classes, or over images if there are fewer than ten classes.

    If there are validation classes, a threshold is chosen on them, at their EER. Error, FAR and FRR
    of the test classes at that distance are what a user of the model would see.

    Args:
        far: FARs at which TAR is reported, different, above 0 and below 1.
        pairs: Most pairs to compare, 2 or more: all, or so many drawn, half of one class and half
            of two. Where the dataset lists pairs, these alone.
        seed: Seed of the pairs and of the bootstrap, 0 or more.
    """

    def __init__(
        self,
        *,
        far: tuple[float, ...] = (0.1, 0.01, 0.001, 0.0001),
        pairs: int = 1_000_000,
        seed: int = 0,
    ) -> None:
        if not far or not all(0 < rate < 1 for rate in far) or len(set(far)) < len(far):
            raise UsageError(
                "verification needs different rates far between 0 and 1, e.g. far=0.01+0.001."
            )
        self.rates = tuple(sorted(far, reverse=True))
        if pairs < 2 or seed < 0:
            raise UsageError("verification needs pairs >= 2 and seed >= 0.")
        self.pairs, self.seed = pairs, seed

    def evaluate(
        self, embeddings: Tensor, images: Labelled, validation: Validation | None = None
    ) -> Result:
        """Embeddings float32 [N, D] to auc, eer, tar@far for every rate, error@calibrated.

        Raises:
            DataError: There are no pairs of one class, or none of two.
            DivergedError: The embeddings have NaN or infinity.
        """
        vectors, labels = embeddings.detach().cpu().numpy(), images.labels.cpu().numpy()
        listed = images.pairs is not None
        if images.pairs is None:
            pairs = draw_pairs(labels, self.pairs, seed=self.seed)
        else:
            # Of other images nothing is asked.
            rows, flat = np.unique(images.pairs.cpu().numpy(), return_inverse=True)
            vectors, labels = vectors[rows], labels[rows]
            first, second = flat.reshape(-1, 2).T
            pairs = ImagePairs(first, second, labels[first] == labels[second])
        if not _both_kinds(pairs):
            raise DataError(
                f"verification needs pairs of one class and of two; {len(pairs.same)} listed pairs "
                "are of images that are tested."
                if listed
                else "verification needs two classes and a class with two images; hold out more."
            )
        threshold = self._threshold(validation)
        measured = self._measures() | ({} if threshold is None else _calibrated(threshold))
        ranked = Ranked(distances_of(vectors, pairs), pairs)
        rocs, over, count = resampled(ranked, pairs, labels, seed=self.seed)
        whole = ranked.roc()
        estimates = {
            name: over_resamples(
                measure(whole), np.array([measure(roc) for roc in rocs]), count, over
            )
            for name, (measure, _) in measured.items()
        }
        definitions = {name: text for name, (_, text) in measured.items()}
        notes = (
            *self._notes(pairs, None if listed else len(labels)),
            _distances_note(whole, self.rates),
            *_about_threshold(threshold, validation),
            *warnings_about(vectors),
        )
        return Result(estimates, notes, definitions)

    def _threshold(self, validation: Validation | None) -> float | None:
        """The distance at the EER of the validation classes; None without pairs of both kinds."""
        if validation is None:
            return None
        labels = validation.images.labels.cpu().numpy()
        pairs = draw_pairs(labels, self.pairs, seed=self.seed)
        if not _both_kinds(pairs):
            return None
        distances = distances_of(validation.embeddings.detach().cpu().numpy(), pairs)
        return Ranked(distances, pairs).roc().equal_error[1]

    def _measures(self) -> dict[str, Measure]:
        measures: dict[str, Measure] = {
            "auc": (
                lambda roc: roc.area,
                "how often two images of one class are nearer than two of different classes",
            ),
            "eer": (
                lambda roc: roc.equal_error[0],
                "error at the distance where false accepts and false rejects are as likely",
            ),
        }
        for rate in self.rates:
            measures[f"tar@far={rate:g}"] = (
                lambda roc, rate=rate: roc.accepted_at(rate),  # type: ignore[misc]
                f"fraction of pairs of one class accepted where at most {rate:g} of the others are",
            )
        return measures

    def _notes(self, pairs: ImagePairs, count: int | None) -> tuple[str, ...]:
        """On the pairs: of so many images, or None for listed ones."""
        notes = []
        negatives = int((~pairs.same).sum())
        if count is None:
            notes.append(f"Verification is over {len(pairs.same):,} listed pairs.")
        elif len(pairs.same) < count * (count - 1) // 2:
            notes.append(
                f"Verification is over {len(pairs.same):,} pairs drawn of "
                f"{count * (count - 1) // 2:,}."
            )
        thin = [f"{rate:g}" for rate in self.rates if rate * negatives < FEWEST_FALSE]
        if thin:
            notes.append(
                f"A FAR of {', '.join(thin)} is read off fewer than {FEWEST_FALSE} of "
                f"{negatives:,} pairs of different classes: too few to rely on."
            )
        return tuple(notes)


def _calibrated(threshold: float) -> dict[str, Measure]:
    def error(roc: Roc) -> float:
        accepted, false = roc.within(threshold)
        return (false + 1 - accepted) / 2

    where = "at the distance where both are alike on the validation classes"
    return {
        "error@calibrated": (error, f"mean of FAR and FRR {where}"),
        "far@calibrated": (
            lambda roc: roc.within(threshold)[1],
            f"fraction of pairs of two classes accepted {where}",
        ),
        "frr@calibrated": (
            lambda roc: 1 - roc.within(threshold)[0],
            f"fraction of pairs of one class rejected {where}",
        ),
    }


def _about_threshold(threshold: float | None, validation: Validation | None) -> tuple[str, ...]:
    if threshold is None or validation is None:
        return ()
    count = len(validation.images.labels.unique())
    return (
        f"The threshold is a distance of {threshold:.4g}, from {count} validation "
        f"{'class' if count == 1 else 'classes'}.",
    )


def _distances_note(roc: Roc, rates: Sequence[float]) -> str:
    """The thresholds at the FARs, as numbers."""
    at = {rate: roc.distance_at(rate) for rate in rates}
    listed = ", ".join(f"{d:.4g} at {rate:g}" for rate, d in at.items() if d is not None)
    return f"Distances at these FARs: {listed or 'none, each accepts more'}."


def _both_kinds(pairs: ImagePairs) -> bool:
    return bool(pairs.same.any() and not pairs.same.all())
