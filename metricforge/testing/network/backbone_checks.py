"""The contract of a backbone, beyond that of every network."""

from __future__ import annotations

from typing import Any

import torch

from metricforge.contracts import Preprocessing
from metricforge.errors import MetricForgeError
from metricforge.spec import Spec
from metricforge.testing.checks import Broken, Skipped, checks, refusal
from metricforge.testing.network.checks import SHARED
from metricforge.testing.network.fixture import ATOL, RTOL, Trial, is_module, on
from metricforge.testing.subject import Subject

SHAPES = ((1, 28, 28), (3, 64, 64))


def trials(subject: Subject) -> tuple[Trial, ...]:
    """The image sizes that it accepts, at the size of its preprocessing."""
    if "trials" not in subject.cache:
        subject.cache["trials"] = _accepted_trials(subject)
    cached: tuple[Trial, ...] = subject.cache["trials"]
    return cached


def _accepted_trials(subject: Subject) -> tuple[Trial, ...]:
    accepted, refused = [], ""
    for channels, height, width in SHAPES:
        offers = {"in_channels": channels, "image_size": (height, width)}
        try:
            preprocessing = preprocessing_of(subject.build(**offers))
        except MetricForgeError as error:
            refused = refusal(error)
            continue
        shown = preprocessing.size or (height, width)
        name = f"images of {channels} x {height} x {width}"
        accepted.append(
            Trial(name, offers, (channels, *shown), lambda made: int(made.out_features))
        )
    if not accepted:
        raise Broken(f"{refused}; take images of 28 x 28 or of 64 x 64.")
    return tuple(accepted)


def builds(subject: Subject) -> None:
    """It is built from channels, image size and its options; it may refuse sizes, but not all."""
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
