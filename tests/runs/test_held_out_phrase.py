"""What a run was tested on, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metricforge.contracts import Dataset
from metricforge.data.split import split_dataset
from metricforge.runs.held_out_phrase import held_out_phrase
from metricforge.spec import Spec


def dataset(groups: list[int] | None = None, **more: object) -> Dataset:
    """12 classes of 8 images."""
    labels = torch.arange(96) // 8
    return Dataset(
        name="letters",
        images=torch.zeros(96, 1, 4, 4, dtype=torch.uint8),
        labels=labels,
        classes=tuple("abcdefghijkl"),
        shape=(1, 4, 4),
        groups=None if groups is None else torch.tensor(groups)[labels],
        group_names=tuple("uvwxyz"[: max(groups) + 1]) if groups else (),
        **more,  # type: ignore[arg-type]
    )


PLAIN, BY_SIX = dataset(), dataset([n // 2 for n in range(12)], nouns=("characters", "scripts"))


@pytest.mark.parametrize(
    ("made", "split", "told"),
    [
        (PLAIN, "classes:train=a-h,validation=i,test=j-l",
         "3 classes that the network never saw: j, k, l"),
        (PLAIN, "classes:train=a+b,validation=c,test=d-l", "9 classes that the network never saw"),
        (BY_SIX, "classes:train=a-f,validation=g+h,test=i-l",
         "4 characters of 2 scripts that the network never saw: i, j, k, l"),
        # Of one script: that it was held out says nothing more.
        (BY_SIX, "classes:train=a-h,validation=i+j,test=k+l",
         "2 characters that the network never saw: k, l"),
        # A script that validates has been looked at.
        (BY_SIX, "classes:train=a-f,validation=g+i,test=h+j+k+l",
         "4 characters that the network never saw: h, j, k, l"),
        (BY_SIX, "images",
         "other images of 12 characters that the network was trained on (closed set)"),
    ],
)  # fmt: skip
def test_the_test_part_in_words(made: Dataset, split: str, told: str) -> None:
    assert held_out_phrase(split_dataset(made, Spec.parse(split)), made) == told


def test_classes_that_are_in_some_parts_only_are_named_as_they_are() -> None:
    parts = {"train": "abcdef", "validation": "abcd", "test": "gh"}

    def phrase(**changed: str) -> str:
        # The images of a class go to its parts in turn; classes of no part train.
        chosen = list({**parts, **changed}.values())
        official = torch.zeros(96, dtype=torch.int64)
        for label, name in enumerate(PLAIN.classes):
            its = [value for value, names in enumerate(chosen) if name in names] or [0]
            official[8 * label : 8 * label + 8] = torch.tensor(its * 8)[:8]
        made = replace(PLAIN, official=official)
        return held_out_phrase(split_dataset(made, Spec.parse("official")), made)

    assert phrase() == "2 classes that the network never saw: g, h"
    assert phrase(test="fgh") == "3 classes, 1 of which the network was trained on"
    other = "2 classes that the network was not trained on; 1 of them chose the epoch"
    assert phrase(validation="abg") == other
