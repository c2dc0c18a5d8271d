"""How sure an identification is, by the distance to the nearest class, and whether that is so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression

from metricforge.evaluation.identification import Probes, class_weights
from metricforge.evaluation.statistics import Doubles

KNOTS = 100
BINS = 15


@dataclass(frozen=True)
class Confidence:
    """The probability that the nearest class is right, if half of all images are strangers'.

    Args:
        distances: Ascending.
        values: The probability at each, descending; between two it is interpolated.
    """

    distances: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, probes: Probes) -> Confidence:
        """How often the nearest class is right at each distance; it falls with the distance.

        Args:
            probes: With strangers and without; each class counts the same.
        """
        fitted = IsotonicRegression(y_min=0, y_max=1, increasing=False, out_of_bounds="clip").fit(
            probes.distances, probes.ranks == 1, sample_weight=_halves(probes)
        )
        x, y = fitted.X_thresholds_, fitted.y_thresholds_
        kept = np.unique(np.linspace(0, len(x) - 1, KNOTS).round().astype(int))
        return cls(tuple(map(float, x[kept])), tuple(map(float, y[kept])))

    def at(self, distances: Doubles) -> Doubles:
        """The probability at distances [P]."""
        return np.asarray(np.interp(distances, self.distances, self.values))

    def error(self, probes: Probes, multiplicity: Doubles | None = None) -> float:
        """The expected calibration error: the mean gap between confidence and how often it is so.

        In 15 bins of equal width.

        Args:
            probes: With strangers and without; half of the weight is the strangers'.
            multiplicity: float64 [P], how often each probe counts. Default: once.

        Reference: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning,
            2015. Guo et al., On Calibration of Modern Neural Networks, 2017.
        """
        values = self.at(probes.distances)
        gaps = _halves(probes, multiplicity) * ((probes.ranks == 1) - values)
        bins = np.minimum((values * BINS).astype(int), BINS - 1)
        return float(min(1.0, np.abs(np.bincount(bins, weights=gaps)).sum()))


def _halves(probes: Probes, multiplicity: Doubles | None = None) -> Doubles:
    """The weight of each probe [P]: half for strangers and half for others, by class."""
    once = np.ones(len(probes.images)) if multiplicity is None else multiplicity
    weights = np.empty(len(once))
    for kind in (probes.ranks == 0, probes.ranks > 0):
        weights[kind] = class_weights(probes.classes[kind], once[kind]) / 2
    return weights
