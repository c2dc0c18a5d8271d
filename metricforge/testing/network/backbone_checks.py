"""The contract of a backbone, beyond that of every network."""

from __future__ import annotations

from typing import Any

import torch

from metricforge.contracts import Preprocessing, TakingVectors
from metricforge.errors import MetricForgeError
from metricforge.model_card import offers_of
from metricforge.spec import Spec
from metricforge.testing.checks import Broken, Skipped, checks, refusal
from metricforge.testing.network.checks import SHARED
from metricforge.testing.network.fixture import ATOL, RTOL, Trial, is_module, on
from metricforge.testing.subject import Subject

SHAPES = ((1, 28, 28), (3, 64, 64))
VECTORS = (24,)


def trials(subject: Subject) -> tuple[Trial, ...]:
    """The images or vectors that it accepts, at the size of its preprocessing."""
    if "trials" not in subject.cache:
        subject.cache["trials"] = _accepted_trials(subject)
    cached: tuple[Trial, ...] = subject.cache["trials"]
    return cached


def _accepted_trials(subject: Subject) -> tuple[Trial, ...]:
    accepted, refused = [], ""
    for shape in (*SHAPES, VECTORS):
        offers = offers_of(shape)
        try:
            backbone = subject.build(**offers)
        except MetricForgeError as error:
            refused = refused or refusal(error)
            continue
        takes_vectors = isinstance(backbone, TakingVectors) and backbone.takes_vectors is True
        if takes_vectors != (len(shape) == 1):
            continue
        kind = "vectors" if takes_vectors else "images"
        accepted.append(
            Trial(
                f"{kind} of {' x '.join(map(str, shape))}",
                offers,
                (*shape[:1], *(preprocessing_of(backbone).size or shape[1:])),
                lambda made: int(made.out_features),
            )
        )
    if not accepted:
        raise Broken(f"{refused}; take images of 28 x 28 or of 64 x 64, or vectors.")
    return tuple(accepted)


def builds(subject: Subject) -> None:
    """It is built from channels and image size, or a length, and options; it may refuse some."""
    for trial in trials(subject):
        trial.made(subject)


def is_a_module(subject: Subject) -> None:
    """It is an nn.Module with an int `out_features`."""
    for trial in trials(subject):
        backbone = trial.made(subject)
        is_module(backbone)
        features = getattr(backbone, "out_features", None)
        if isinstance(features, bool) or not isinstance(features, int) or features < 1:
            raise Broken(f"has out_features {features!r}; set how many features it gives.")


def preprocessing_is_as_agreed(subject: Subject) -> None:
    """`preprocessing` is absent or a Preprocessing, with as many means as deviations."""
    for trial in trials(subject):
        preprocessing = preprocessing_of(trial.made(subject))
        mean, std = preprocessing.mean, preprocessing.std
        if (mean is None) != (std is None) or len(mean or ()) != len(std or ()):
            raise Broken(f"wants the mean {mean} and the deviation {std}; give both or neither.")
        if std and min(std) <= 0:
            raise Broken(f"wants the deviation {std}; give what is above zero.")


def channels_last_gives_the_same(subject: Subject, trial: Trial) -> None:
    """Images in the layout channels-last give the same features."""
    if len(trial.shape) == 1:
        raise Skipped("it takes vectors.")
    backbone = trial.made(subject).eval()
    images = trial.inputs(4)
    expected = backbone(images)
    for moved in (backbone, backbone.to(memory_format=torch.channels_last)):
        actual = moved(images.contiguous(memory_format=torch.channels_last))
        if not torch.allclose(actual, expected, rtol=RTOL, atol=ATOL):
            raise Broken("gave other features for channels-last images; use reshape, not view.")


def rebuild_makes_the_same_network(subject: Subject) -> None:
    """`rebuild` is a spec that makes a network of the same weights' names and shapes."""
    for trial in trials(subject):
        backbone = trial.made(subject)
        text = getattr(backbone, "rebuild", None)
        if text is None:
            raise Skipped("it has no rebuild.")
        try:
            again = subject.registry.build("backbone", Spec.parse(text), trial.offers)
        except MetricForgeError as error:
            raise Broken(f"says rebuild {text!r}, which does not do: {error}") from error
        if _shapes(again) != _shapes(backbone):
            raise Broken(f"says rebuild {text!r}, which makes another network than it is.")


def preprocessing_of(backbone: Any) -> Preprocessing:
    """The preprocessing that a backbone requires; Broken for another type."""
    preprocessing = getattr(backbone, "preprocessing", Preprocessing())
    if not isinstance(preprocessing, Preprocessing):
        raise Broken(
            f"has preprocessing {preprocessing!r}; give a metricforge.contracts.Preprocessing."
        )
    return preprocessing


def _shapes(backbone: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in backbone.state_dict().items()}


BACKBONE_CHECKS = checks(
    builds,
    is_a_module,
    preprocessing_is_as_agreed,
    *(on(trials, check) for check in (*SHARED[:-1], channels_last_gives_the_same)),
    rebuild_makes_the_same_network,
    on(trials, SHARED[-1]),
    first=4,
)
