"""Identification: which enrolled class is an image of, or is it a stranger?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from torch import Tensor

from metricforge.contracts import Estimate, Labelled, Result, Validation
from metricforge.errors import UsageError
from metricforge.evaluation import (
    Confidence,
    Ints,
    OpenSet,
    classes_needed,
    draw_trials,
    enrollable,
    over_resamples,
    probe,
    promised_thresholds,
    resampled_probes,
    warnings_about,
)

RESAMPLES = 200

Measure = tuple[Callable[[OpenSet], float], str]
"""A metric of the probes, and its definition."""


class Identification:
    """Are images of enrolled classes identified, and strangers not? DIR at FPIRs, CMC, open set.

    In each trial half of the classes are enrolled with some images each, and all other images ask.
    An image is identified as the nearest enrolled class if that is nearer than a threshold, else it
    is unknown. FPIR is the fraction of strangers' images that are identified as somebody, DIR that
    of enrolled classes' images that are identified as theirs; both are means over classes.
    Intervals are by a bootstrap over classes, or over images if there are fewer than ten classes.

    If there are validation classes, a threshold is chosen on them so that a stranger is taken for
    somebody with at most the given probabilities, and FPIR and DIR of the test classes at that
    threshold are what a user would see. So is the error of the confidences chosen on them (ECE).

    Args:
        fpir: FPIRs at which DIR is reported, and that are promised; different, above 0 and below 1.
        k: Ranks of the CMC, different and 1 or more each.
        shots: Images of a class to enrol, 1 or more. Default: 5, or half of the median class.
        by: "mean" compares with the mean embedding of each enrolled class, "nearest" with the
            nearest enrolled image.
        trials: Draws of the enrolled, 1 or more; more if not every class would be a stranger once.
        seed: Seed of the draws and of the bootstrap, 0 or more.

    Reference: Grother & Ngan, Face Recognition Vendor Test, 2014. Günther et al., Toward Open-Set
        Face Recognition, 2017.
    """

    def __init__(
        self,
        *,
        fpir: tuple[float, ...] = (0.1, 0.01),
        k: tuple[int, ...] = (1, 5),
        shots: int | None = None,
        by: Literal["mean", "nearest"] = "mean",
        trials: int = 10,
        seed: int = 0,
    ) -> None:
        if not fpir or not all(0 < rate < 1 for rate in fpir) or len(set(fpir)) < len(fpir):
            raise UsageError(
                "identification needs different rates fpir between 0 and 1, e.g. fpir=0.1+0.01."
            )
        if not k or min(k) < 1 or len(set(k)) < len(k):
            raise UsageError("identification needs different ranks k, each 1 or more, e.g. k=1+5.")
        if (shots is not None and shots < 1) or trials < 1 or seed < 0:
            raise UsageError("identification needs shots >= 1, trials >= 1 and seed >= 0.")
        self.rates, self.ks = tuple(sorted(fpir, reverse=True)), tuple(sorted(k))
        self.shots, self.by, self.trials, self.seed = shots, by, trials, seed

    def evaluate(
        self, embeddings: Tensor, images: Labelled, validation: Validation | None = None
    ) -> Result:
        """Embeddings float32 [N, D] to cmc@k, oscr, dir@fpir for every rate, and those promised.

        Raises:
            DataError: There are fewer than two classes, or none has an image to enrol and one to
                ask with.
            DivergedError: The embeddings have NaN or infinity.
        """
        vectors, labels = embeddings.detach().cpu().numpy(), images.labels.cpu().numpy()
        shots = self._shots(labels)
        enrolled = max(1, _large(labels, shots) // 2)
        drawn = draw_trials(
            labels, enrolled=enrolled, shots=shots, trials=self.trials, seed=self.seed
        )
        probes = probe(vectors, labels, drawn, self.by)
        measures = self._measures()
        notes: list[str] = []
        if validation is not None:
            measures |= self._calibrated(validation, enrolled, shots)
            promises = self._promises(validation, enrolled, shots)
            for rate, threshold in promises.items():
                measures |= _promised(rate, threshold)
            notes += _unpromised(
                [rate for rate in self.rates if rate not in promises], validation, enrolled
            )
        whole = OpenSet(probes)
        resamples, over, count = resampled_probes(probes, RESAMPLES, seed=self.seed)
        several = [OpenSet(probes, weights) for weights in resamples]
        return Result(
            {
                name: estimated(
                    name, measure(whole), [measure(each) for each in several], count, over
                )
                for name, (measure, _) in measures.items()
            },
            (
                f"Identification enrols {enrolled} of {len(np.unique(labels))} classes with "
                f"{shots} {'image' if shots == 1 else 'images'} each, in turn.",
                *notes,
                *warnings_about(vectors),
            ),
            {name: text for name, (_, text) in measures.items()},
        )

    def _shots(self, labels: Ints) -> int:
        if self.shots is not None:
            return self.shots
        counts = np.unique(labels, return_counts=True)[1]
        return max(1, min(5, int(np.median(counts)) // 2)) if len(counts) else 1

    def _measures(self) -> dict[str, Measure]:
        measures: dict[str, Measure] = {
            f"cmc@{k}": (
                lambda rates, k=k: rates.cmc(k),  # type: ignore[misc]
                "fraction of images of enrolled classes with theirs "
                + ("as the nearest" if k == 1 else f"among the {k} nearest"),
            )
            for k in self.ks
        }
        measures["oscr"] = (
            lambda rates: rates.area,
            "area under DIR over FPIR, the fractions of images that are identified as their class "
            "and of strangers that are identified as somebody",
        )
        for rate in self.rates:
            measures[f"dir@fpir={rate:g}"] = (
                lambda rates, rate=rate: rates.dir(rates.threshold(rate)),  # type: ignore[misc]
                "fraction of images of enrolled classes identified as theirs, at the highest "
                f"threshold where at most {rate:g} of the strangers are identified",
            )
        return measures

    def _calibrated(self, validation: Validation, enrolled: int, shots: int) -> dict[str, Measure]:
        """The error of confidences that the validation classes choose, if these can be enrolled."""
        vectors = validation.embeddings.detach().cpu().numpy()
        labels = validation.images.labels.cpu().numpy()
        known = enrollable(labels, enrolled, shots)
        if not known:
            return {}
        drawn = draw_trials(labels, enrolled=known, shots=shots, trials=self.trials, seed=self.seed)
        confidence = Confidence.of(probe(vectors, labels, drawn, self.by))
        return {
            "ece": (
                lambda rates: confidence.error(rates.probes, rates.multiplicity),
                "expected calibration error: mean gap between the confidence that the nearest "
                "class is right, from the validation classes, and how often it is",
            )
        }

    def _promises(self, validation: Validation, enrolled: int, shots: int) -> dict[float, float]:
        return promised_thresholds(
            validation.embeddings.detach().cpu().numpy(),
            validation.images.labels.cpu().numpy(),
            self.rates,
            enrolled=enrolled,
            shots=shots,
            by=self.by,
            trials=self.trials,
            seed=self.seed,
        )


def estimated(
    name: str, value: float, resampled: Sequence[float], units: int, over: str
) -> Estimate:
    """A metric with its interval.

    That of `ece` begins at 0: chance gaps add up in a sum of absolute values, so that it is above 0
    for the best confidences as well.
    """
    estimate = over_resamples(value, np.array(resampled), units, over)
    return replace(estimate, low=0.0) if name == "ece" else estimate


def _unpromised(rates: list[float], validation: Validation, enrolled: int) -> Iterator[str]:
    """A note on the rates that the validation classes can't promise."""
    if rates:
        count = len(validation.images.labels.unique())
        needed = " and ".join(f"{classes_needed(rate, enrolled):,} for {rate:g}" for rate in rates)
        yield (
            f"To promise an FPIR takes more validation classes than {count}, if {enrolled} are "
            f"enrolled: {needed}."
        )


def _large(labels: Ints, shots: int) -> int:
    """How many classes have more images than are enrolled."""
    return int((np.unique(labels, return_counts=True)[1] > shots).sum())


def _promised(rate: float, threshold: float) -> dict[str, Measure]:
    where = f"at the threshold that promised {rate:g}, from the validation classes"
    return {
        f"fpir@promised={rate:g}": (
            lambda rates: rates.fpir(threshold),
            f"fraction of strangers' images identified as somebody {where}",
        ),
        f"dir@promised={rate:g}": (
            lambda rates: rates.dir(threshold),
            f"fraction of images of enrolled classes identified as theirs {where}",
        ),
    }
