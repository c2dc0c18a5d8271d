"""The contract of a head, beyond that of every network."""

from __future__ import annotations

from metricforge.testing.checks import Broken, checks
from metricforge.testing.network.checks import SHARED
from metricforge.testing.network.fixture import Trial, is_module, on
from metricforge.testing.subject import Subject

FEATURES = 24


def trials(subject: Subject) -> tuple[Trial, ...]:
    """Heads to two dimensions, as for pictures, and to eight."""
    return tuple(_trial(dim) for dim in (2, 8))


def _trial(dim: int) -> Trial:
    offers = {"in_features": FEATURES, "dim": dim}
    return Trial(f"{FEATURES} features and dim={dim}", offers, (FEATURES,), lambda _: dim)


def builds(subject: Subject) -> None:
    """It is built from the number of features, the dimension and its options."""
    for trial in trials(subject):
        trial.made(subject)


def is_a_module(subject: Subject) -> None:
    """It is an nn.Module; `unit_length` is absent or true or false."""
    for trial in trials(subject):
        head = trial.made(subject)
        is_module(head)
        if not isinstance(getattr(head, "unit_length", True), bool):
            raise Broken(f"has unit_length {head.unit_length!r}; set True or False.")


HEAD_CHECKS = checks(builds, is_a_module, *(on(trials, check) for check in SHARED), first=3)
