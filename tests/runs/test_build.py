"""What a run says before it begins of options that change nothing, or not what one may think."""

from __future__ import annotations

from typing import Any

import pytest

from metricforge.errors import UsageError
from tests.recipes.test_components import Net, assembled

NO_NORM = "the network has no batch norm: --batch-norm frozen changes nothing."
NEVER = "the backbone never trains: it is frozen in all 2 epochs."
LEVEL = "the rate never falls: it may after 3 epochs, and there are 2."
BY_CHUNK = "of a batch of more than 5 images batch norm goes by the chunk"


@pytest.mark.parametrize(
    ("backbone", "options", "told"),
    [
        (Net, {"batch_norm": "frozen"}, NO_NORM),
        (Net, {"freeze": 2}, NEVER),
        (Net, {"freeze": 9}, NEVER),
        (Net, {"schedule": "plateau:patience=2"}, LEVEL),
        ("conv4:channels=4", {"chunk": 5}, BY_CHUNK),
    ],
)
def test_an_option_that_changes_nothing_is_said(
    backbone: Any, options: dict[str, Any], told: str
) -> None:
    notes = assembled(backbone, epochs=2, **options).notes
    assert [note for note in notes if note.startswith(told)]


def test_nothing_is_said_of_options_that_do_what_they_say() -> None:
    for backbone, options in (
        (Net, {"freeze": 1, "chunk": 5}),
        ("conv4:channels=4", {"batch_norm": "frozen", "chunk": 5}),
        (Net, {"rates": "backbone=0"}),
        (Net, {"schedule": "step"}),
    ):
        notes = assembled(backbone, epochs=2, **options).notes
        assert [note for note in notes if "validation classes" not in note] == []


def test_a_rate_of_a_loss_without_parameters_is_refused() -> None:
    with pytest.raises(UsageError, match="this loss has no parameters"):
        assembled(Net, rates="loss=100")
    assembled(Net, loss="pml.ProxyAnchorLoss", sampler="balanced", rates="loss=100")


@pytest.mark.parametrize(
    ("validation", "told"),
    [
        ("4", "one validation class can't rank epochs"),
        ("4+5", "the epoch is chosen by 2 validation classes, which say little of others"),
        ("0+1+4+5", "the epoch is chosen by 4 validation classes"),
        ("0+1+2+4+5", None),
    ],
)
def test_few_validation_classes_are_told_of(validation: str, told: str | None) -> None:
    train = "+".join(name for name in "012367" if name not in validation)
    split = f"classes:train={train},validation={validation},test=8+9"
    made = assembled("conv4:channels=4", dataset="digits", split=split)
    notes = [note for note in made.notes if "validation class" in note]
    assert len(notes) == (told is not None)
    assert all(told in note for note in notes if told)


def test_a_closed_set_has_no_other_classes_to_speak_of() -> None:
    made = assembled("conv4:channels=4", dataset="digits", split="images")
    assert not [note for note in made.notes if "validation classes" in note]
